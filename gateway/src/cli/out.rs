//! Standard output whose reader may have had enough: `tollgate history | head`.
//!
//! `println!` panics then. What is printed by `out!` and `outln!` goes nowhere instead, and the command ends with
//! the exit code that it would have.

use std::fmt::Arguments;
use std::io::Write;

/// Prints what `out!` and `outln!` are given.
pub(super) fn print(text: Arguments<'_>) {
    // There is nowhere to tell that nobody reads.
    let _ = std::io::stdout().lock().write_fmt(text);
}

/// As `print!`.
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::out::print(format_args!($($text)*)) };
}

/// As `println!`.
macro_rules! outln {
    () => { $crate::cli::out::print(format_args!("\n")) };
    ($($text:tt)*) => { $crate::cli::out::print(format_args!("{}\n", format_args!($($text)*))) };
}
