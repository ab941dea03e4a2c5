//! How large a document may become once its aliases are expanded, told before anything so large is made.

/// Bounds on a document. They keep a policy of some ten thousand routes well inside.
pub(in super::super) struct Limits {
    /// Mappings and lists within each other.
    pub(in super::super) depth: usize,
    /// Aliases.
    pub(in super::super) aliases: usize,
    /// Values once all aliases are expanded.
    pub(in super::super) nodes: usize,
    /// Bytes of all scalars once all aliases are expanded.
    pub(in super::super) bytes: usize,
}

/// What a node costs once its aliases are expanded.
#[derive(Clone, Copy, Default)]
pub(super) struct Weight {
    pub(super) nodes: usize,
    pub(super) bytes: usize,
}

/// What a document has come to.
pub(super) struct Scales<'l> {
    limits: &'l Limits,
    all: Weight,
    /// Of what is kept once more, as aliases may stand for it.
    kept: Weight,
}

impl<'l> Scales<'l> {
    pub(super) fn new(limits: &'l Limits) -> Self {
        Self { limits, all: Weight::default(), kept: Weight::default() }
    }

    /// Of all so far.
    pub(super) fn all(&self) -> Weight {
        self.all
    }

    /// Of what came after `before`.
    pub(super) fn since(&self, before: Weight) -> Weight {
        Weight { nodes: self.all.nodes - before.nodes, bytes: self.all.bytes - before.bytes }
    }

    /// Adds a value. The error says that it is too much.
    pub(super) fn add(&mut self, weight: Weight) -> Result<(), String> {
        self.all = self.all.and(weight);
        self.check()
    }

    /// Adds what is kept once more. The error says that it is too much.
    pub(super) fn keep(&mut self, weight: Weight) -> Result<(), String> {
        self.kept = self.kept.and(weight);
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        let Limits { nodes, bytes, .. } = *self.limits;
        let all = self.all.and(self.kept);
        if all.nodes <= nodes && all.bytes <= bytes {
            return Ok(());
        }
        Err(format!(
            "the document is larger than {nodes} values or {bytes} bytes once its aliases are expanded"
        ))
    }
}

impl Weight {
    fn and(self, more: Self) -> Self {
        let (nodes, bytes) = (self.nodes.saturating_add(more.nodes), self.bytes.saturating_add(more.bytes));
        Self { nodes, bytes }
    }
}
