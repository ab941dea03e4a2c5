//! `options(tick = 5)`: how the script wants to be called. While it loads only; afterwards it is too late, and an
//! error.

use std::cell::Cell;

use anyhow::{anyhow, bail};
use starlark::environment::GlobalsBuilder;
use starlark::starlark_module;
use starlark::values::float::UnpackFloat;
use starlark::values::none::NoneType;

use super::RUN;

/// Seconds between ticks.
const TICK: std::ops::RangeInclusive<f64> = 0.01..=86_400.0;

thread_local! {
    /// Milliseconds that the script which is being loaded has given: one at a time.
    static GIVEN: Cell<u32> = const { Cell::new(0) };
}

/// A script begins to load.
pub(super) fn forget() {
    GIVEN.set(0);
}

/// Milliseconds between ticks that the script which was loaded last has given; 0 for none.
pub(crate) fn take_tick() -> u32 {
    GIVEN.take()
}

#[starlark_module]
pub(super) fn options(builder: &mut GlobalsBuilder) {
    fn options(#[starlark(require = named)] tick: Option<UnpackFloat>) -> anyhow::Result<NoneType> {
        if RUN.with(|run| run.handler.get().is_some()) {
            bail!("options are given while the script loads, not in a handler");
        }
        if let Some(tick) = tick {
            let seconds = Some(tick.0).filter(|seconds| TICK.contains(seconds));
            let seconds = seconds.ok_or_else(|| anyhow!("`tick` is a number of seconds, 0.01 to 86400"))?;
            GIVEN.set((seconds * 1000.0) as u32);
        }
        Ok(NoneType)
    }
}
