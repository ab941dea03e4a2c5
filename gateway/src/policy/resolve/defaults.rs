//! `defaults`: what has no place there. The rest was merged before (`compose/defaults.rs`), and is looked at
//! where it counts.

use super::super::raw;
use super::place::Place;

/// Refuses what is each route's, filter's or upstream's own.
pub(super) fn check(place: Place<'_>, defaults: &raw::Defaults) {
    if let Some(route) = defaults.routes.given() {
        let keys = [
            ("name", route.name.is_absent()),
            ("forward", route.forward.is_absent()),
            ("redirect", route.redirect.is_absent()),
            ("respond", route.respond.is_absent()),
        ];
        place.key("routes").refuse(&keys, "each route has its own; `match` and `filters` may have defaults");
    }
    if let Some(filter) = defaults.filters.given() {
        for (kind, settings) in [("wasm", &filter.wasm), ("lua", &filter.lua), ("starlark", &filter.starlark)]
        {
            let Some(settings) = settings.given() else { continue };
            let keys = [
                ("module", settings.module.is_absent()),
                ("file", settings.file.is_absent()),
                ("inline", settings.inline.is_absent()),
            ];
            place.key("filters").key(kind).refuse(&keys, "each filter has its own");
        }
    }
    if let Some(upstream) = defaults.upstreams.given() {
        let keys = [("endpoints", upstream.endpoints.is_absent())];
        place.key("upstreams").refuse(&keys, "each upstream has its own");
    }
}
