//! gRPC calls of guests: what they ask for, and how they name a server.
//!
//! A guest opens a call by `proxy_grpc_call` (one message, one answer) or by `proxy_grpc_stream`. What it
//! brings is told one by one:
//!
//! * a call: one message ([`Vm::on_grpc_message`](crate::Vm::on_grpc_message)), or its failure
//!   ([`Vm::on_grpc_close`](crate::Vm::on_grpc_close)), and nothing after either;
//! * a stream: initial metadata, messages, trailing metadata, and at last its close, well or not.
//!
//! That is what SDKs expect: those for Rust panic on anything told of a call that is over.

use std::time::Duration;

use crate::pairs::Pair;

/// What a guest asks for. All of it is as the guest gave it, within the limits of this host.
#[derive(Clone, Copy, Debug)]
pub struct GrpcCall<'a> {
    /// How the guest names the server.
    pub upstream: GrpcUpstream<'a>,
    /// The full name of the service, without slashes.
    pub service: &'a [u8],
    /// The name of the method.
    pub method: &'a [u8],
    /// The initial metadata.
    pub metadata: &'a [Pair<'a>],
    /// What is sent.
    pub kind: GrpcKind<'a>,
}

/// What is sent, and what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcKind<'a> {
    /// One message each way.
    Unary {
        /// The message, serialized.
        message: &'a [u8],
        /// How long the guest waits for all of the answer; `None`: as long as the gateway lets it.
        timeout: Option<Duration>,
    },
    /// Any number of messages each way, as [`Environment::grpc_send`](crate::Environment::grpc_send)
    /// brings them.
    Stream,
}

/// Whether a message is the guest's last on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageEnd {
    /// More may follow.
    More,
    /// It is the last.
    Last,
}

/// How a guest names a server: by its name, or by a serialized `envoy.config.core.v3.GrpcService` whose
/// `envoy_grpc` has the name. Filters do both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcUpstream<'a> {
    given: &'a [u8],
    envoy: Option<EnvoyGrpc<'a>>,
}

/// What counts of `envoy.config.core.v3.GrpcService.EnvoyGrpc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct EnvoyGrpc<'a> {
    cluster_name: &'a [u8],
    authority: &'a [u8],
}

impl<'a> GrpcUpstream<'a> {
    /// Reads what a guest passed; anything is a name.
    pub fn read(given: &'a [u8]) -> Self {
        Self { given, envoy: EnvoyGrpc::in_service(given) }
    }

    /// The names it may mean, the likelier first: a text is seldom such a message by chance.
    pub fn names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let cluster = self.envoy.map(|envoy| envoy.cluster_name);
        cluster.into_iter().filter(|name| !name.is_empty()).chain([self.given])
    }

    /// The `:authority` that it wants, if it says so.
    pub fn authority(&self) -> Option<&'a [u8]> {
        self.envoy.map(|envoy| envoy.authority).filter(|authority| !authority.is_empty())
    }
}

impl<'a> EnvoyGrpc<'a> {
    const SERVICE_ENVOY_GRPC: u64 = 1;
    const CLUSTER_NAME: u64 = 1;
    const AUTHORITY: u64 = 2;

    fn in_service(service: &'a [u8]) -> Option<Self> {
        let mut found = None;
        for field in Fields(service) {
            if let (Self::SERVICE_ENVOY_GRPC, Value::Bytes(message)) = field? {
                found = Some(Self::read(message)?);
            }
        }
        found
    }

    fn read(message: &'a [u8]) -> Option<Self> {
        let mut envoy = Self::default();
        for field in Fields(message) {
            match field? {
                (Self::CLUSTER_NAME, Value::Bytes(name)) => envoy.cluster_name = name,
                (Self::AUTHORITY, Value::Bytes(authority)) => envoy.authority = authority,
                _ => {}
            }
        }
        Some(envoy)
    }
}

/// The fields of a protobuf message, in order; an item is `None` where the message is malformed, and the
/// last then.
struct Fields<'a>(&'a [u8]);

/// A field's value, as far as it matters here.
enum Value<'a> {
    Number,
    Bytes(&'a [u8]),
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => self.varint().map(|_| Value::Number),
            1 => self.take(8).map(|_| Value::Number),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.take(length).map(Value::Bytes)
            }
            5 => self.take(4).map(|_| Value::Number),
            _ => None,
        };
        let number = key >> 3;
        value.filter(|_| number != 0).map(|value| (number, value))
    }

    /// At most ten bytes, of which the last has one bit.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(given: &[u8]) -> Vec<&[u8]> {
        GrpcUpstream::read(given).names().collect()
    }

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(value.len()).unwrap()], value].concat()
    }

    #[test]
    fn a_name_is_a_name() {
        for name in ["auth", "outbound|80||auth.svc", "", "\n", "a:80"] {
            assert_eq!(names(name.as_bytes()), [name.as_bytes()]);
        }
        assert_eq!(GrpcUpstream::read(b"auth").authority(), None);
    }

    #[test]
    fn a_service_has_the_name_inside() {
        let envoy = [field(1, b"auth"), field(2, b"auth.test")].concat();
        let timeout = field(3, &[8, 5]);
        for service in [field(1, &envoy), [timeout, field(1, &envoy), field(5, b"xx")].concat()] {
            assert_eq!(names(&service), [b"auth", &service[..]]);
            assert_eq!(GrpcUpstream::read(&service).authority(), Some(&b"auth.test"[..]));
        }
        // No `envoy_grpc`, or one that is cut: only the bytes themselves are left.
        for other in [field(2, &envoy), field(1, &envoy)[..8].to_vec(), field(1, &[0x0a, 9, b'x'])] {
            assert_eq!(names(&other), [&other[..]]);
        }
    }

    #[test]
    fn malformed_messages_are_none() {
        for bytes in [&[0x80][..], &[0x0a], &[0x0a, 0xff], &[0x0b], &[0x00, 0x00], &[0xff; 11]] {
            assert_eq!(names(bytes), [bytes]);
        }
    }

    proptest! {
        #[test]
        fn anything_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(names(&bytes).pop(), Some(&bytes[..]));
        }
    }
}
