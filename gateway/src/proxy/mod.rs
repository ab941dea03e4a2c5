//! The spine: one request, from its head to its line in the access log.
//!
//! [`handle()`] shows the order on one screen. `admit` checks and normalises, `forward` sends, `answer`
//! builds what goes back, `respond` is the one place that turns errors into HTTP answers, `flight` is
//! the request's life: it ends, and is counted and logged, when the last byte has gone out or the
//! client has gone away.

mod admit;
mod answer;
mod body;
mod client_body;
mod error;
mod flight;
mod forward;
mod handle;
pub(crate) mod length;
mod redirect;
mod respond;
mod response_body;
mod shadow;

pub use body::{Outgoing, RequestBody};
pub use error::{Abort, ProxyError};
pub(crate) use forward::rewritten;
pub use handle::handle;
pub use response_body::ResponseBody;
