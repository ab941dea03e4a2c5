//! The walk over the text's events: what the document says, the positions, bounds, and what is refused.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};
use serde_yaml::{Mapping, Value};

use super::super::diagnostics::Position;
use super::Span;
use super::scalar;
use super::tree::{Children, Entry, Node, NodeId, Tree, is_secret_key};
use super::weight::{Limits, Scales, Weight};

/// Why the text cannot be read as a document.
#[derive(Debug)]
pub(in super::super) struct ScanFailure {
    pub(in super::super) span: Span,
    pub(in super::super) message: String,
    pub(in super::super) help: Option<&'static str>,
    /// Another place that has to do with it.
    pub(in super::super) related: Option<(Position, &'static str)>,
}

/// What `text` says; fills `tree` with its positions. Goes on after what is merely refused, and ends where
/// the text is no YAML or out of bounds.
pub(super) fn scan(text: &str, limits: &Limits, tree: &mut Tree) -> Result<Value, Vec<ScanFailure>> {
    let mut scan = Scan {
        limits,
        tree,
        failures: Vec::new(),
        value: Value::Null,
        open: Vec::new(),
        anchors: HashMap::new(),
        aliases: 0,
        documents: 0,
        scales: Scales::new(limits),
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
    if scan.failures.is_empty() { Ok(scan.value) } else { Err(scan.failures) }
}

struct Scan<'s> {
    limits: &'s Limits,
    tree: &'s mut Tree,
    failures: Vec<ScanFailure>,
    /// The document, when it has ended.
    value: Value,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    aliases: usize,
    documents: usize,
    scales: Scales<'s>,
}

/// A mapping or list that has not ended.
struct Open {
    id: NodeId,
    anchor: usize,
    /// The key that it is the value of.
    name: Option<Value>,
    /// Of all before it.
    before: Weight,
    /// How many mappings and lists are within each other from here on, as far as it is known.
    height: usize,
    held: Held,
}

/// What a mapping or list that has not ended holds.
enum Held {
    Sequence(Vec<NodeId>, Vec<Value>),
    /// The last is the key that waits for its value.
    Mapping(Vec<Entry>, Vec<(Value, Value)>, Option<Key>),
}

struct Key {
    text: Box<str>,
    span: Span,
    value: Value,
}

/// What an alias stands for.
struct Anchored {
    id: NodeId,
    weight: Weight,
    height: usize,
    value: Value,
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
                self.scalar(text, style, anchor, span)
            }
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.start(Held::Sequence(Vec::new(), Vec::new()), anchor, span)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.start(Held::Mapping(Vec::new(), Vec::new(), None), anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    /// A scalar is either the key of an open mapping or a value.
    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        span: Span,
    ) -> Result<(), ScanFailure> {
        let is_plain = style == ScalarStyle::Plain;
        let weight = Weight { nodes: 1, bytes: text.len() };
        // Values are placed before anything may fail: what is in the tree is hidden if it may be secret.
        let children = if is_plain { Children::Plain } else { Children::Scalar };
        let place = match self.awaits_key() {
            true => Err(Box::from(&*text)),
            false => Ok(self.place(children, span)),
        };
        self.scales.add(weight).map_err(too_much(span))?;
        let value = if is_plain { scalar::plain(text) } else { Ok(text.into_owned().into()) };
        let value = value.map_err(|why| failure(span, format!("not well-formed YAML: {why}")))?;
        match place {
            Err(text) => self.key(Key { text, span, value }, is_plain),
            Ok((id, name)) => {
                self.anchor(anchor, Anchored { id, weight, height: 0, value: Value::Null }, &value, span)?;
                self.put(name, value, 0);
            }
        }
        Ok(())
    }

    fn key(&mut self, key: Key, is_plain: bool) {
        if &*key.text == "<<" && is_plain {
            let help = "YAML 1.2 has none: write the keys out, or use an alias for the whole value";
            self.failures.push(refused(key.span, "a merge key", help));
        }
        if let Some(Open { held: Held::Mapping(_, _, waiting), .. }) = self.open.last_mut() {
            *waiting = Some(key);
        }
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), ScanFailure> {
        self.refuse_as_key(span)?;
        self.aliases += 1;
        if self.aliases > self.limits.aliases {
            let message = format!("more than {} aliases", self.limits.aliases);
            return Err(failure(span, message));
        }
        let Some(&Anchored { id, weight, height, .. }) = self.anchors.get(&anchor) else {
            return Err(refused(span, "an alias to a value that holds it", "such a value would never end"));
        };
        // Aliases of aliases nest as what is written does; whoever walks over the value does so by recursion.
        self.refuse_depth(height, span)?;
        let (_, name) = self.place(Children::Alias(id), span);
        self.scales.add(weight).map_err(too_much(span))?;
        let value = self.anchors.get(&anchor).map_or(Value::Null, |anchored| anchored.value.clone());
        self.put(name, value, height);
        Ok(())
    }

    fn start(&mut self, held: Held, anchor: usize, span: Span) -> Result<(), ScanFailure> {
        self.refuse_as_key(span)?;
        self.refuse_depth(1, span)?;
        // What it holds is known at its end.
        let (id, name) = self.place(Children::Sequence(Box::default()), span);
        let before = self.scales.all();
        self.scales.add(Weight { nodes: 1, bytes: 0 }).map_err(too_much(span))?;
        self.open.push(Open { id, anchor, name, before, height: 1, held });
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), ScanFailure> {
        let Some(Open { id, anchor, name, before, height, held }) = self.open.pop() else { return Ok(()) };
        let (children, value) = match held {
            Held::Sequence(nodes, values) => (Children::Sequence(nodes.into()), Value::Sequence(values)),
            Held::Mapping(entries, values, _) => (self.mapping(entries), self.values(values, span)),
        };
        let node = self.tree.node_mut(id);
        node.span.end = span.end;
        node.children = children;
        let weight = self.scales.since(before);
        self.anchor(anchor, Anchored { id, weight, height, value: Value::Null }, &value, span)?;
        self.put(name, value, height);
        Ok(())
    }

    /// Sorts a mapping's entries to be found by their keys, of which none may be there twice.
    fn mapping(&mut self, mut entries: Vec<Entry>) -> Children {
        // The order of the text is kept among equal ones.
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        for pair in entries.windows(2) {
            let [first, second] = pair else { continue };
            if first.name == second.name {
                let message =
                    format!("the key `{}` is written twice in this mapping", second.name.escape_debug());
                let (span, related) = (second.key, Some((first.key.start, "the first one")));
                self.failures.push(ScanFailure { span, message, help: Some("remove one of them"), related });
            }
        }
        Children::Mapping(entries.into())
    }

    /// A mapping with room for these and no more: most are small, and there are many.
    fn values(&mut self, values: Vec<(Value, Value)>, end: Span) -> Value {
        let mut mapping = Mapping::with_capacity(values.len());
        for (key, value) in values {
            // Those that are written alike are refused already.
            if mapping.insert(key, value).is_some() && self.failures.is_empty() {
                let help = "remove one of them";
                self.failures.push(ScanFailure {
                    span: end,
                    message: "two keys of the mapping that ends here mean the same".to_owned(),
                    help: Some(help),
                    related: None,
                });
            }
        }
        Value::Mapping(mapping)
    }

    /// So many more mappings and lists within each other, from here on.
    fn refuse_depth(&self, more: usize, span: Span) -> Result<(), ScanFailure> {
        match self.open.len() + more > self.limits.depth {
            true => {
                let message = format!("more than {} mappings and lists within each other", self.limits.depth);
                Err(failure(span, message))
            }
            false => Ok(()),
        }
    }

    fn awaits_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { held: Held::Mapping(_, _, None), .. }))
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

    /// Adds a node to the tree, below the mapping or list that is open, and gives the key that waited for it.
    fn place(&mut self, children: Children, span: Span) -> (NodeId, Option<Value>) {
        let id = self.tree.next();
        let Some(open) = self.open.last_mut() else {
            self.tree.push(Node { span, secret: false, children });
            return (id, None);
        };
        let mut secret = self.tree.node_mut(open.id).secret;
        let mut name = None;
        match &mut open.held {
            Held::Sequence(nodes, _) => nodes.push(id),
            Held::Mapping(entries, _, key) => {
                if let Some(Key { text, span, value }) = key.take() {
                    secret |= is_secret_key(&text);
                    entries.push(Entry { name: text, key: span, value: id });
                    name = Some(value);
                }
            }
        }
        self.tree.push(Node { span, secret, children });
        (id, name)
    }

    /// Adds a value of this height to the mapping or list that is open.
    fn put(&mut self, name: Option<Value>, value: Value, height: usize) {
        if let Some(open) = self.open.last_mut() {
            open.height = open.height.max(height + 1);
        }
        match (self.open.last_mut().map(|open| &mut open.held), name) {
            (None, _) => self.value = value,
            (Some(Held::Sequence(_, values)), _) => values.push(value),
            (Some(Held::Mapping(_, values, _)), Some(name)) => values.push((name, value)),
            // No value comes without its key.
            (Some(Held::Mapping(..)), None) => {}
        }
    }

    /// Keeps what aliases may stand for, which weighs as much again. Anchor 0 means that the node has none.
    fn anchor(
        &mut self,
        anchor: usize,
        anchored: Anchored,
        value: &Value,
        span: Span,
    ) -> Result<(), ScanFailure> {
        if anchor != 0 {
            self.scales.keep(anchored.weight).map_err(too_much(span))?;
            self.anchors.insert(anchor, Anchored { value: value.clone(), ..anchored });
        }
        Ok(())
    }

    /// After a failure the rest of its line is unknown and may be secret; so may the line itself,
    /// if a value that may be secret has not ended.
    fn close_all(&mut self, at: Span) {
        let end = Position { line: at.end.line.saturating_add(1), column: 1 };
        let pending = match self.open.last_mut().map(|open| &mut open.held) {
            Some(Held::Mapping(_, _, key)) => key.take(),
            _ => None,
        };
        let secret = pending.filter(|key| is_secret_key(&key.text)).map(|key| key.span.end);
        let span = Span { start: secret.unwrap_or(at.end), end };
        self.tree.push(Node { span, secret: true, children: Children::Scalar });
        for open in &self.open {
            self.tree.node_mut(open.id).span.end = end;
        }
    }
}

fn failure(span: Span, message: String) -> ScanFailure {
    ScanFailure { span, message, help: None, related: None }
}

fn too_much(span: Span) -> impl FnOnce(String) -> ScanFailure {
    move |message| failure(span, message)
}

fn refused(span: Span, what: &str, help: &'static str) -> ScanFailure {
    ScanFailure { span, message: format!("{what} is not allowed here"), help: Some(help), related: None }
}

fn syntax(error: &ScanError) -> ScanFailure {
    let start = position(*error.marker());
    failure(Span { start, end: start }, format!("not well-formed YAML: {}", error.info()))
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
