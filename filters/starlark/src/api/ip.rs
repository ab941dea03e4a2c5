//! `ip.matches(address, range)`, and `ip.set([range, …])` for many: `address in set`.

use std::net::IpAddr;

use allocative::Allocative;
use anyhow::anyhow;
use derive_more::Display;
use ipnet::IpNet;
use starlark::environment::GlobalsBuilder;
use starlark::values::list_or_tuple::UnpackListOrTuple;
use starlark::values::{
    NoSerialize, ProvidesStaticType, StarlarkPagablePanic, StarlarkValue, Value, starlark_value,
};
use starlark::{starlark_module, starlark_simple_value};
use tollgate_guest::ranges::{RANGES_MAX, Ranges};

/// A set of ranges.
#[derive(Debug, Display, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
#[display("ip.set")]
pub(super) struct Set(#[allocative(skip)] Ranges);

starlark_simple_value!(Set);

#[starlark_value(type = "ip.set")]
impl<'v> StarlarkValue<'v> for Set {
    fn is_in(&self, other: Value<'v>) -> starlark::Result<bool> {
        Ok(address(other.unpack_str_err()?).is_some_and(|address| self.0.contains(address)))
    }
}

#[starlark_module]
pub(super) fn ip(builder: &mut GlobalsBuilder) {
    fn matches(
        #[starlark(require = pos)] text: &str,
        #[starlark(require = pos)] net: &str,
    ) -> anyhow::Result<bool> {
        let ranges = Ranges::new([range(net)?]);
        Ok(address(text).is_some_and(|address| ranges.contains(address)))
    }

    fn set(#[starlark(require = pos)] nets: UnpackListOrTuple<&str>) -> anyhow::Result<Set> {
        if nets.items.len() > RANGES_MAX {
            return Err(anyhow!("a set has at most {RANGES_MAX} ranges"));
        }
        let nets: anyhow::Result<Vec<IpNet>> = nets.items.into_iter().map(range).collect();
        Ok(Set(Ranges::new(nets?)))
    }
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

fn range(text: &str) -> anyhow::Result<IpNet> {
    let alone = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| alone()).map_err(|_| anyhow!("`{text}` is not a range of addresses"))
}
