use std::cell::Cell;

use http::Response;
use http_body_util::Full;
use tokio::task::{LocalSet, spawn_local, yield_now};

use super::*;

/// A server that sends many messages at once does not keep the worker from all else.
#[test]
fn others_have_their_turns_between_messages() {
    const MESSAGES: usize = 20;
    let messages: Vec<u8> = (0..MESSAGES).flat_map(|_| framed(b"").unwrap()).collect();
    let body = Full::new(Bytes::from(messages)).map_err(|never| match never {});
    let response: WholeResponse = Response::new(Box::pin(body));
    let (turns, told) = (Rc::new(Cell::new(0)), Cell::new(0));
    let other = Rc::clone(&turns);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        spawn_local(async move {
            loop {
                other.set(other.get() + 1);
                yield_now().await;
            }
        });
        let slow = |reply| {
            if let GrpcReply::Message(_) = reply {
                told.set(told.get() + 1);
                let begun = Instant::now();
                while begun.elapsed() < SLICE {
                    std::hint::spin_loop();
                }
            }
            Ok(())
        };
        assert_eq!(read(response, 16, slow).await, Err(no_status()));
    });
    assert_eq!(told.get(), MESSAGES);
    assert!(turns.get() >= MESSAGES, "{} turns", turns.get());
}
