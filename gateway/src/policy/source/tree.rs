//! The positions of all values, as a tree in one vector.

use super::super::diagnostics::Position;
use super::super::path::Step;
use super::{Part, Span};

/// Keys whose values may be secret: they are given to filters or upstreams as they are.
const SECRET_KEYS: [&str; 6] = ["config", "vm_config", "environment", "password", "set", "add"];

/// All nodes; the first is the document's root.
#[derive(Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

/// The place of a node in [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId(u32);

pub(super) struct Node {
    pub(super) span: Span,
    pub(super) secret: bool,
    pub(super) children: Children,
}

pub(super) enum Children {
    /// Without quotes.
    Plain,
    /// In quotes, or a block.
    Scalar,
    Sequence(Box<[NodeId]>),
    /// By name.
    Mapping(Box<[Entry]>),
    /// The node that was anchored.
    Alias(NodeId),
}

/// A key and its value.
pub(super) struct Entry {
    pub(super) name: Box<str>,
    pub(super) key: Span,
    pub(super) value: NodeId,
}

/// A node, and where its key is.
#[derive(Clone, Copy)]
struct Child {
    key: Span,
    value: NodeId,
}

/// What [`Tree::find`] found.
pub(super) struct Found {
    pub(super) span: Span,
    pub(super) secret: bool,
}

/// Whether the value of `key` may be secret.
pub(in super::super) fn is_secret_key(key: &str) -> bool {
    SECRET_KEYS.contains(&key)
}

impl Tree {
    /// The place of the next node. Its number fits: the text's limit keeps nodes far below `u32::MAX`.
    pub(super) fn next(&self) -> NodeId {
        NodeId(self.nodes.len() as u32)
    }

    /// Adds a node at [`Self::next`].
    pub(super) fn push(&mut self, node: Node) {
        self.nodes.push(node);
    }

    pub(super) fn node_mut(&mut self, NodeId(id): NodeId) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    fn node(&self, NodeId(id): NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    /// Follows `steps` as far as they are written; aliases are followed to what they stand for.
    pub(super) fn find(&self, steps: &[Step<'_>], part: Part) -> Found {
        let start = Position { line: 1, column: 1 };
        let mut found = Found { span: Span { start, end: start }, secret: false };
        let Some(root) = self.nodes.first() else { return found };
        found.span = root.span;
        let mut id = NodeId(0);
        for (i, step) in steps.iter().enumerate() {
            let Some(Child { key, value }) = self.child(id, *step) else { break };
            let last = i + 1 == steps.len();
            found.span = if last && part == Part::Key { key } else { self.node(value).span };
            found.secret |= self.node(value).secret;
            id = value;
        }
        found
    }

    /// Whether the scalar that `steps` lead to is written without quotes.
    pub(super) fn is_plain(&self, steps: &[Step<'_>]) -> bool {
        let Some(id) = self.walk(steps) else { return false };
        match &self.node(id).children {
            Children::Alias(target) => matches!(self.node(*target).children, Children::Plain),
            children => matches!(children, Children::Plain),
        }
    }

    /// Whether all of `steps` are written.
    pub(super) fn has(&self, steps: &[Step<'_>]) -> bool {
        self.walk(steps).is_some()
    }

    /// The node that all of `steps` lead to.
    fn walk(&self, steps: &[Step<'_>]) -> Option<NodeId> {
        let root = (!self.nodes.is_empty()).then_some(NodeId(0));
        steps.iter().try_fold(root?, |id, step| Some(self.child(id, *step)?.value))
    }

    /// The value of a step below a node. An entry of a list is its own key.
    fn child(&self, id: NodeId, step: Step<'_>) -> Option<Child> {
        match (&self.node(id).children, step) {
            // What an alias stands for is no alias.
            (Children::Alias(target), _) => self.child(*target, step),
            (Children::Mapping(entries), Step::Key(key)) => {
                let found = entries.binary_search_by(|entry| (*entry.name).cmp(key)).ok()?;
                let Entry { key, value, .. } = entries.get(found)?;
                Some(Child { key: *key, value: *value })
            }
            (Children::Sequence(nodes), Step::Index(index)) => {
                let value = *nodes.get(index)?;
                Some(Child { key: self.node(value).span, value })
            }
            _ => None,
        }
    }

    /// Scalars that may be secret, among them those that stand elsewhere and are used by alias.
    pub(super) fn secret_scalars(&self) -> Vec<Span> {
        let secret = (0..self.nodes.len() as u32).map(NodeId).filter(|id| self.node(*id).secret);
        self.scalars_below(secret.collect())
    }

    /// Scalars at and below the value that `steps` lead to.
    pub(super) fn scalars_at(&self, steps: &[Step<'_>]) -> Vec<Span> {
        self.walk(steps).map_or_else(Vec::new, |id| self.scalars_below(vec![id]))
    }

    /// Visits each node once, so that aliases within aliases cost nothing.
    fn scalars_below(&self, mut pending: Vec<NodeId>) -> Vec<Span> {
        let mut seen = vec![false; self.nodes.len()];
        let mut spans = Vec::new();
        while let Some(id) = pending.pop() {
            if std::mem::replace(&mut seen[id.0 as usize], true) {
                continue;
            }
            let node = self.node(id);
            match &node.children {
                Children::Plain | Children::Scalar => spans.push(node.span),
                Children::Sequence(nodes) => pending.extend(nodes),
                Children::Mapping(entries) => pending.extend(entries.iter().map(|entry| entry.value)),
                Children::Alias(target) => pending.push(*target),
            }
        }
        spans
    }
}
