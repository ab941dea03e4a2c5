//! `re.test(pattern, text)`, `re.search(pattern, text)` (a list of the match and its groups, or None),
//! `re.sub(pattern, by, text)`: regular expressions in the syntax of Rust's `regex`, in linear time.

use std::rc::Rc;

use anyhow::anyhow;
use starlark::environment::GlobalsBuilder;
use starlark::starlark_module;
use starlark::values::{Heap, Value};
use tollgate_guest::patterns::{self, Compiled};

#[starlark_module]
pub(super) fn re(builder: &mut GlobalsBuilder) {
    fn test(
        #[starlark(require = pos)] pattern: &str,
        #[starlark(require = pos)] text: &str,
    ) -> anyhow::Result<bool> {
        Ok(compiled(pattern)?.is_match(text))
    }

    fn search<'v>(
        #[starlark(require = pos)] pattern: &str,
        #[starlark(require = pos)] text: &str,
        heap: Heap<'v>,
    ) -> anyhow::Result<Value<'v>> {
        let regex = compiled(pattern)?;
        let Some(captures) = regex.captures(text) else { return Ok(Value::new_none()) };
        let groups = captures.iter().map(|group| match group {
            Some(group) => heap.alloc(group.as_str()),
            None => Value::new_none(),
        });
        let groups: Vec<Value<'v>> = groups.collect();
        Ok(heap.alloc(groups))
    }

    fn sub(
        #[starlark(require = pos)] pattern: &str,
        #[starlark(require = pos)] by: &str,
        #[starlark(require = pos)] text: &str,
    ) -> anyhow::Result<String> {
        patterns::replace(&*compiled(pattern)?, text, by).map_err(|error| anyhow!(error))
    }
}

fn compiled(pattern: &str) -> anyhow::Result<Rc<Compiled>> {
    patterns::compiled(pattern.as_bytes()).map_err(|error| anyhow!(error))
}
