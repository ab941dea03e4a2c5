//! The walk over the text's events: positions, bounds, and what is refused before it is read.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

use super::super::diagnostics::Position;
use super::Span;
use super::tree::{Children, Entry, Node, NodeId, Tree, is_secret_key};

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

/// Why the text cannot be read as a document.
pub(in super::super) struct ScanFailure {
    pub(in super::super) span: Span,
    pub(in super::super) message: String,
    pub(in super::super) help: Option<&'static str>,
    /// Another place that has to do with it.
    pub(in super::super) related: Option<(Position, &'static str)>,
}

/// Fills `tree` with the positions of `text`. Goes on after what is merely refused, and ends where
/// the text is no YAML or out of bounds.
pub(super) fn scan(text: &str, limits: &Limits, tree: &mut Tree) -> Vec<ScanFailure> {
    let mut scan = Scan {
        limits,
        tree,
        failures: Vec::new(),
        open: Vec::new(),
        anchors: HashMap::new(),
        aliases: 0,
        documents: 0,
    };
    for event in Parser::new_from_str(text) {
        let outcome = match event {
            Ok((event, span)) => scan.event(event, Span::from(span)),
            Err(error) => Err(syntax(&error)),
        };
        if let Err(failure) = outcome {
            scan.close_all(failure.span);
            scan.failures.push(failure);
            break;
        }
    }
    scan.failures
}

struct Scan<'s> {
    limits: &'s Limits,
    tree: &'s mut Tree,
    failures: Vec<ScanFailure>,
    open: Vec<Open>,
    anchors: HashMap<usize, (NodeId, Weight)>,
    aliases: usize,
    documents: usize,
}

/// A mapping or list that has not ended.
struct Open {
    id: NodeId,
    anchor: usize,
    weight: Weight,
    /// In a mapping: the key that waits for its value.
    key: Option<(Box<str>, Span)>,
}

/// What a node costs once its aliases are expanded.
#[derive(Clone, Copy)]
struct Weight {
    nodes: usize,
    bytes: usize,
}

impl Scan<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), ScanFailure> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(refused(
                        span,
                        "a second document",
                        "a policy is one document: remove the `---`",
                    ));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.scalar(&text, style, anchor, span)
            }
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.start(Children::Sequence(Vec::new()), anchor, span)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.start(Children::Mapping(HashMap::new()), anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    /// A scalar is either the key of an open mapping or a value.
    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        span: Span,
    ) -> Result<(), ScanFailure> {
        if self.awaits_key() {
            return self.key(text, style, span);
        }
        let weight = Weight { nodes: 1, bytes: text.len() };
        let is_plain = style == ScalarStyle::Plain;
        let id = self.place(if is_plain { Children::Plain } else { Children::Scalar }, span);
        self.weigh(weight, span)?;
        self.anchor(anchor, id, weight);
        Ok(())
    }

    fn key(&mut self, text: &str, style: ScalarStyle, span: Span) -> Result<(), ScanFailure> {
        if text == "<<" && style == ScalarStyle::Plain {
            let help = "YAML 1.2 has none: write the keys out, or use an alias for the whole value";
            self.failures.push(refused(span, "a merge key", help));
        }
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        if let Children::Mapping(entries) = &self.tree.node_mut(open.id).children
            && let Some(first) = entries.get(text)
        {
            let message = format!("the key `{}` is written twice in this mapping", text.escape_debug());
            let related = Some((first.key.start, "the first one"));
            self.failures.push(ScanFailure { span, message, help: Some("remove one of them"), related });
        }
        open.key = Some((text.into(), span));
        self.weigh(Weight { nodes: 1, bytes: text.len() }, span)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), ScanFailure> {
        self.refuse_as_key(span)?;
        self.aliases += 1;
        if self.aliases > self.limits.aliases {
            let message = format!("more than {} aliases", self.limits.aliases);
            return Err(ScanFailure { span, message, help: None, related: None });
        }
        let Some(&(target, weight)) = self.anchors.get(&anchor) else {
            return Err(refused(span, "an alias to a value that holds it", "such a value would never end"));
        };
        self.place(Children::Alias(target), span);
        self.weigh(weight, span)
    }

    fn start(&mut self, children: Children, anchor: usize, span: Span) -> Result<(), ScanFailure> {
        self.refuse_as_key(span)?;
        if self.open.len() >= self.limits.depth {
            let message = format!("more than {} mappings and lists within each other", self.limits.depth);
            return Err(ScanFailure { span, message, help: None, related: None });
        }
        let id = self.place(children, span);
        self.open.push(Open { id, anchor, weight: Weight { nodes: 1, bytes: 0 }, key: None });
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), ScanFailure> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        self.tree.node_mut(open.id).span.end = span.end;
        self.anchor(open.anchor, open.id, open.weight);
        self.weigh(open.weight, span)
    }

    fn awaits_key(&mut self) -> bool {
        let Some(open) = self.open.last() else { return false };
        open.key.is_none() && matches!(self.tree.node_mut(open.id).children, Children::Mapping(_))
    }

    fn refuse_tag(&mut self, tagged: bool, span: Span) {
        if tagged {
            let help = "a policy needs none: remove the word that begins with `!`";
            self.failures.push(refused(span, "a tag", help));
        }
    }

    fn refuse_as_key(&mut self, span: Span) -> Result<(), ScanFailure> {
        if self.awaits_key() {
            return Err(refused(
                span,
                "a key that is no text",
                "put a key in quotes if it begins with `*`, `[` or `{`",
            ));
        }
        Ok(())
    }

    /// Adds a value to the tree below the mapping or list that is open.
    fn place(&mut self, children: Children, span: Span) -> NodeId {
        let mut secret = false;
        let mut key = None;
        if let Some(open) = self.open.last_mut() {
            key = open.key.take();
            secret = self.tree.node_mut(open.id).secret;
        }
        secret |= key.as_ref().is_some_and(|(key, _)| is_secret_key(key));
        let id = self.tree.push(Node { span, secret, children });
        if let Some(open) = self.open.last() {
            match (&mut self.tree.node_mut(open.id).children, key) {
                (Children::Mapping(entries), Some((name, key))) => {
                    entries.insert(name, Entry { key, value: id });
                }
                (Children::Sequence(nodes), _) => nodes.push(id),
                _ => {}
            }
        }
        id
    }

    /// Adds to the weight of what is open. What is inside is added to what is outside when it ends,
    /// so the sum is right at the end and never more than one container late.
    fn weigh(&mut self, weight: Weight, span: Span) -> Result<(), ScanFailure> {
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        open.weight.nodes = open.weight.nodes.saturating_add(weight.nodes);
        open.weight.bytes = open.weight.bytes.saturating_add(weight.bytes);
        if open.weight.nodes > self.limits.nodes || open.weight.bytes > self.limits.bytes {
            let Limits { nodes, bytes, .. } = self.limits;
            let message = format!(
                "the document is larger than {nodes} values or {bytes} bytes once its aliases are expanded"
            );
            return Err(ScanFailure { span, message, help: None, related: None });
        }
        Ok(())
    }

    /// Anchor 0 means that the node has none.
    fn anchor(&mut self, anchor: usize, id: NodeId, weight: Weight) {
        if anchor != 0 {
            self.anchors.insert(anchor, (id, weight));
        }
    }

    /// After a failure the rest of its line is unknown and may be secret; so may the line itself,
    /// if a value that may be secret has not ended.
    fn close_all(&mut self, at: Span) {
        let end = Position { line: at.end.line.saturating_add(1), column: 1 };
        let pending = self.open.last_mut().and_then(|open| open.key.take());
        let secret = pending.filter(|(key, _)| is_secret_key(key)).map(|(_, span)| span.end);
        let span = Span { start: secret.unwrap_or(at.end), end };
        self.tree.push(Node { span, secret: true, children: Children::Scalar });
        for open in &self.open {
            self.tree.node_mut(open.id).span.end = end;
        }
    }
}

fn refused(span: Span, what: &str, help: &'static str) -> ScanFailure {
    ScanFailure { span, message: format!("{what} is not allowed here"), help: Some(help), related: None }
}

fn syntax(error: &ScanError) -> ScanFailure {
    let start = position(*error.marker());
    let message = format!("not well-formed YAML: {}", error.info());
    ScanFailure { span: Span { start, end: start }, message, help: None, related: None }
}

impl From<saphyr_parser::Span> for Span {
    fn from(span: saphyr_parser::Span) -> Self {
        Span { start: position(span.start), end: position(span.end) }
    }
}

/// The parser counts lines from 1 and columns from 0; both fit, the text being limited.
fn position(mark: Marker) -> Position {
    Position { line: mark.line().max(1) as u32, column: mark.col() as u32 + 1 }
}
