//! What a side call brings.

use std::rc::Rc;

use tollgate_proxy_wasm::calls::BROKEN_CONNECTION;
use tollgate_proxy_wasm::{CallMap, CallReply};

use super::exchange::Pairs;
use super::pairs;

/// A reply as the gateway would give it.
#[derive(Default)]
pub struct Reply {
    pub headers: Pairs,
    pub body: Vec<u8>,
    pub trailers: Pairs,
    pub initial: Pairs,
    pub trailing: Pairs,
    /// 0 if it is left out.
    pub status: Option<(u32, &'static str)>,
}

impl Reply {
    /// A small response with everything in it.
    pub fn arrived() -> Rc<Self> {
        Rc::new(Self {
            headers: pairs(&[(":status", "200"), ("x", "y")]),
            body: b"body".to_vec(),
            trailers: pairs(&[("t", "1")]),
            ..Self::default()
        })
    }

    /// No response.
    pub fn failed(how: &'static str) -> Rc<Self> {
        Rc::new(Self { status: Some((BROKEN_CONNECTION, how)), ..Self::default() })
    }

    fn map(&self, map: CallMap) -> &[(Vec<u8>, Vec<u8>)] {
        match map {
            CallMap::HttpResponseHeaders => &self.headers,
            CallMap::HttpResponseTrailers => &self.trailers,
            CallMap::GrpcInitialMetadata => &self.initial,
            CallMap::GrpcTrailingMetadata => &self.trailing,
        }
    }
}

impl CallReply for Reply {
    fn map_len(&self, map: CallMap) -> usize {
        self.map(map).len()
    }

    fn map_pairs(&self, map: CallMap, f: &mut dyn FnMut(&[u8], &[u8])) {
        self.map(map).iter().for_each(|(name, value)| f(name, value));
    }

    fn map_get(&self, map: CallMap, name: &[u8]) -> Option<&[u8]> {
        self.map(map).iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    fn body(&self) -> &[u8] {
        &self.body
    }

    fn status(&self) -> (u32, &[u8]) {
        self.status.map_or((0, b""), |(code, text)| (code, text.as_bytes()))
    }
}
