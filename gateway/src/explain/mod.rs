//! What a policy does, told to people: which route a request would take, through what, and why not another;
//! and what a reload to another policy would change ([`Comparison`]). From the policy alone.
//!
//! Order: the request is made as the gateway would see it (`request`), every route is looked at
//! ([`crate::route::explain`]), and what came of it is put into one [`Report`], which shows itself as text
//! ([`Text`]) or JSON. Nothing is started or sent. Header values are in no report: they may be credentials.

mod comparison;
mod report;
mod request;
mod text;

pub use comparison::Comparison;
pub use report::{Other, Report, Request, Step, Taken};
pub use request::{Field, FieldError, Inquiry, QuestionError};
pub use text::Text;

use crate::policy::Policy;

/// Routes that do not take the request and are named all the same.
pub const NEAREST: usize = 8;

/// What becomes of a request under `policy`; at most `nearest` routes that do not take it are named.
///
/// # Errors
/// If the gateway would refuse it before it looks for a route.
pub fn explain(policy: &Policy, inquiry: &Inquiry, nearest: usize) -> Result<Report, QuestionError> {
    let question = request::Question::new(inquiry, policy)?;
    Ok(Report::new(policy, &question, nearest))
}
