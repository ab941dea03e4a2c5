//! What the generated guest does: made from a fuzzer's bytes, passed to the guest as its plugin's
//! configuration.

use super::guest;

/// A life of the guest.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub operations: Vec<Operation>,
    /// What the guest has in its memory for functions to read.
    pub data: Vec<u8>,
    /// What the allocator does: see `guest::allocator`.
    pub allocator: u8,
    /// `proxy_on_done` answers false.
    pub never_done: bool,
    /// What the callbacks return.
    pub action: u8,
    /// In which callback an HTTP call is made as it should be, before anything else.
    pub calls_in: Option<u8>,
    /// It may call nothing that can be refused.
    pub is_forbidden: bool,
}

/// One call of a host function.
#[derive(Clone, Debug)]
pub struct Operation {
    /// In which callback: an index into `guest::CALLBACKS`.
    pub callback: u8,
    /// Which function, by its number.
    pub function: u8,
    /// Missing ones are 0. A 64-bit parameter takes its own as the lower half and one from the end as
    /// the upper.
    pub arguments: Vec<Argument>,
}

/// An argument, as the guest computes it.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    Value(u32),
    /// An address in the program's data.
    Data(u16),
    /// The address of one of 64 words for results.
    Slot(u8),
    /// What stands in that word.
    Load(u8),
}

impl Program {
    pub const OPERATIONS_MAX: usize = 64;
    pub const DATA_BYTES: usize = guest::DATA_BYTES;
    const ARGUMENTS: usize = guest::ARGUMENTS;

    /// Any bytes are a program: a header, the operations, the data. `functions` is how many there are.
    pub fn decode(bytes: &[u8], functions: usize) -> Self {
        let mut bytes = bytes.iter().copied();
        let mut next = || bytes.next().unwrap_or(0);
        let (count, allocator, flags, action) = (next(), next(), next(), next());
        let operations = (0..usize::from(count) % (Self::OPERATIONS_MAX + 1)).map(|_| Operation {
            callback: next() % guest::CALLBACKS.len() as u8,
            function: (usize::from(next()) % functions) as u8,
            arguments: (0..Self::ARGUMENTS).map(|_| Argument::decode([next(), next(), next()])).collect(),
        });
        let operations = operations.collect();
        let data = bytes.take(Self::DATA_BYTES).collect();
        let calls_in = (flags & 2 != 0).then_some((flags >> 2) % guest::CALLBACKS.len() as u8);
        let (never_done, is_forbidden) = (flags & 1 != 0, allocator & 0x80 != 0);
        Self { operations, data, allocator, never_done, action, calls_in, is_forbidden }
    }

    /// The guest's memory from `guest::PROGRAM` on.
    pub fn encode(&self) -> Vec<u8> {
        let mut memory = vec![0; guest::DATA - guest::PROGRAM];
        memory[..4].copy_from_slice(&[
            self.operations.len() as u8,
            self.allocator,
            u8::from(self.never_done),
            self.action,
        ]);
        for (index, operation) in self.operations.iter().enumerate() {
            let words = [operation.callback.into(), operation.function.into()].into_iter();
            let arguments = operation.arguments.iter().flat_map(|argument| argument.encode());
            let at = guest::OPERATIONS - guest::PROGRAM + index * guest::OPERATION_BYTES;
            for (word, place) in words.chain(arguments).zip(memory[at..].chunks_exact_mut(4)) {
                place.copy_from_slice(&word.to_le_bytes());
            }
        }
        memory.extend(&self.data);
        memory.resize(guest::DATA - guest::PROGRAM + guest::DATA_BYTES, 0);
        memory
    }
}

impl Argument {
    /// Small numbers, good addresses, and those at the edges, each often enough.
    fn decode([kind, low, high]: [u8; 3]) -> Self {
        let number = u16::from_le_bytes([low, high]);
        match kind % 8 {
            0 => Self::Value(low.into()),
            1 => Self::Value(number.into()),
            2 => Self::Data(number % Program::DATA_BYTES as u16),
            3 | 4 => Self::Slot(low),
            5 => Self::Load(low),
            6 => Self::Value(u32::MAX - u32::from(number)),
            _ => Self::Value(u32::from(number) << 8),
        }
    }

    /// A kind, 1 for a load, and a number.
    fn encode(self) -> [u32; 2] {
        let slot = |slot: u8| (guest::SLOTS + usize::from(slot % 64) * 4) as u32;
        match self {
            Self::Value(number) => [0, number],
            Self::Data(offset) => [0, guest::DATA as u32 + u32::from(offset)],
            Self::Slot(index) => [0, slot(index)],
            Self::Load(index) => [1, slot(index)],
        }
    }
}
