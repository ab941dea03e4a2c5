//! The figures as tables.

use std::time::Duration;

use super::Measured;
use crate::cli::style::{Style, printable};
use crate::workbench::bench::{Figures, Quantiles};

/// Host functions that are named.
const CALLS_SHOWN: usize = 12;

/// Tells each contender, and how the second compares with the first.
pub(super) fn tell(contenders: &[Measured], style: Style) {
    contenders.iter().for_each(|measured| one(measured, style));
    if let [one, other] = contenders {
        compare(&one.figures, &other.figures, style);
    }
}

fn one(Measured { figures, compile }: &Measured, style: Style) {
    outln!("{}: {} exchanges, {}", style.title(&printable(&figures.label)), figures.exchanges, ends(figures));
    outln!("\n  {}", style.title(&row("phase", "median", "p99", "fuel")));
    for phase in &figures.phases {
        let Quantiles { median, p99 } = phase.time;
        outln!("  {}", row(phase.phase.as_str(), &short(median), &short(p99), &phase.fuel.to_string()));
    }
    let fuel: u64 = figures.phases.iter().map(|phase| phase.fuel).sum();
    outln!("  {}", row("all", &short(figures.whole.median), &short(figures.whole.p99), &fuel.to_string()));
    let clock = format!("each phase includes some {} for reading the clock", short(figures.clock));
    outln!("  {}\n", style.faint(&clock));
    outln!("  {}", style.title("host calls in an exchange"));
    for call in figures.host_calls.iter().take(CALLS_SHOWN) {
        outln!("  {:<44}{:>8.2}", printable(&format!("{}.{}", call.module, call.name)), call.per_exchange);
    }
    match figures.host_calls.len() {
        0 => outln!("  none"),
        count if count > CALLS_SHOWN => outln!("  and {} more", count - CALLS_SHOWN),
        _ => {}
    }
    let start = format!("{} (p99 {})", short(figures.start.median), short(figures.start.p99));
    outln!("\n  memory    {:.2} MiB", figures.memory_bytes as f64 / f64::from(1 << 20));
    outln!("  start     {start}");
    if let Some(times) = compile {
        outln!("  compile   O0 {}, O2 {}", short(times.quick), short(times.thorough));
    }
    outln!();
}

fn compare(one: &Figures, other: &Figures, style: Style) {
    let title = format!("{} to {}", printable(&other.label), printable(&one.label));
    outln!("{}, medians", style.title(&title));
    for phase in &other.phases {
        let Some(same) = one.phases.iter().find(|same| same.phase == phase.phase) else { continue };
        outln!("  {:<20}{}", phase.phase.as_str(), ratio(same.time.median, phase.time.median));
    }
    outln!("  {:<20}{}", "all", ratio(one.whole.median, other.whole.median));
    outln!("  {:<20}{}", "start", ratio(one.start.median, other.start.median));
}

fn row(phase: &str, median: &str, p99: &str, fuel: &str) -> String {
    format!("{phase:<20}{median:>12}{p99:>12}{fuel:>12}")
}

fn ends(figures: &Figures) -> String {
    let all = figures.exchanges.max(1) as f64;
    let told = figures.ends.iter().map(|(end, count)| match figures.ends.len() {
        1 => format!("all {}", printable(end)),
        _ => format!("{:.1} % {}", *count as f64 * 100.0 / all, printable(end)),
    });
    told.collect::<Vec<_>>().join(", ")
}

fn ratio(one: Duration, other: Duration) -> String {
    if one.is_zero() {
        return "-".to_owned();
    }
    let ratio = other.as_secs_f64() / one.as_secs_f64();
    format!("{:>10} to {:>10}, {ratio:.2} times", short(other), short(one))
}

/// A time with three digits or so.
fn short(time: Duration) -> String {
    let nanoseconds = time.as_nanos();
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{:.2} µs", time.as_secs_f64() * 1e6),
        1_000_000..1_000_000_000 => format!("{:.2} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}
