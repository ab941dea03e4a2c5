//! A real redis-server, and peers that misbehave.

use std::net::SocketAddr;

use tokio::task::LocalSet;

use self::server::Redis;
use super::super::tests::origin::{Origin, within};
use super::*;
use crate::policy::upstream::Protocol;

#[path = "../../../tests/support/redis.rs"]
mod server;

const BOUNDS: RedisBounds = RedisBounds { timeout: Duration::from_secs(10), reply_bytes_max: 1 << 20 };

fn upstream(address: SocketAddr) -> Rc<RedisUpstream> {
    let definition = super::super::tests::definition(&[address]);
    Rc::new(RedisUpstream::new(Arc::new(Upstream { protocol: Protocol::Redis, ..definition })))
}

fn command(arguments: &[&str]) -> Command {
    let arguments: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_bytes()).collect();
    Command::parse(&Command::of(&arguments)).unwrap()
}

async fn ask(
    upstream: &Rc<RedisUpstream>,
    login: &Rc<Login>,
    arguments: &[&str],
) -> Result<String, RedisError> {
    let reply = within(Rc::clone(upstream).call(login, command(arguments), BOUNDS)).await?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn commands_share_one_connection() {
    let redis = Redis::start(&[]);
    run(async {
        let upstream = upstream(redis.address);
        let login = Rc::new(Login::default());
        assert_eq!(ask(&upstream, &login, &["SET", "a", "1"]).await.unwrap(), "+OK\r\n");
        assert_eq!(ask(&upstream, &login, &["GET", "a"]).await.unwrap(), "$1\r\n1\r\n");
        assert_eq!(ask(&upstream, &login, &["GET", "none"]).await.unwrap(), "$-1\r\n");
        let script = ["EVAL", "return {1,{'x',2},'y'}", "0"];
        assert_eq!(
            ask(&upstream, &login, &script).await.unwrap(),
            "*3\r\n:1\r\n*2\r\n$1\r\nx\r\n:2\r\n$1\r\ny\r\n"
        );
        assert!(ask(&upstream, &login, &["INCR"]).await.unwrap().starts_with("-ERR"));
        let large = "x".repeat(500_000);
        assert_eq!(ask(&upstream, &login, &["SET", "l", &large]).await.unwrap(), "+OK\r\n");
        assert_eq!(ask(&upstream, &login, &["GET", "l"]).await.unwrap(), format!("$500000\r\n{large}\r\n"));
        let stats = upstream.stats();
        assert_eq!((stats.connected, stats.reused, stats.idle), (1, 6, 1));
    });
}

#[test]
fn replies_come_to_those_who_asked() {
    let redis = Redis::start(&[]);
    run(async {
        let upstream = upstream(redis.address);
        let login = Rc::new(Login::default());
        let asked: Vec<_> = (0..500)
            .map(|number: u32| {
                let (upstream, login) = (Rc::clone(&upstream), Rc::clone(&login));
                tokio::task::spawn_local(async move {
                    let text = number.to_string();
                    let call = upstream.call(&login, command(&["ECHO", &text]), BOUNDS);
                    if number.is_multiple_of(7) {
                        // Given up before it is answered: the others are not confused.
                        let mut call = Box::pin(call);
                        let polled = std::future::poll_fn(|cx| {
                            std::task::Poll::Ready(call.as_mut().poll(cx).is_pending())
                        });
                        assert!(polled.await);
                        return;
                    }
                    let reply = call.await.unwrap();
                    assert_eq!(reply, format!("${}\r\n{text}\r\n", text.len()));
                })
            })
            .collect();
        for task in asked {
            within(task).await.unwrap();
        }
        assert_eq!(upstream.stats().connected, 1);
    });
}

#[test]
fn logins_have_connections_of_their_own() {
    let redis = Redis::start(&["--requirepass", "open sesame"]);
    run(async {
        let upstream = upstream(redis.address);
        let login = |password: &str, database| {
            Rc::new(Login { user: "".into(), password: password.into(), database })
        };
        let (first, second) = (login("open sesame", 0), login("open sesame", 3));
        assert_eq!(ask(&upstream, &first, &["SET", "a", "1"]).await.unwrap(), "+OK\r\n");
        assert_eq!(ask(&upstream, &second, &["GET", "a"]).await.unwrap(), "$-1\r\n");
        assert_eq!(upstream.stats().connected, 2);
        let named = Rc::new(Login { user: "default".into(), password: "open sesame".into(), database: 0 });
        assert_eq!(ask(&upstream, &named, &["GET", "a"]).await.unwrap(), "$1\r\n1\r\n");
        for wrong in [login("wrong", 0), login("open sesame", 9999)] {
            let error = ask(&upstream, &wrong, &["GET", "a"]).await.unwrap_err();
            assert!(matches!(error, RedisError::Login), "{error:?}");
        }
        // Without a login the server itself says no.
        let nobody = Rc::new(Login::default());
        assert!(ask(&upstream, &nobody, &["GET", "a"]).await.unwrap().starts_with("-NOAUTH"));
    });
}

#[test]
fn a_server_that_comes_back_is_used_again() {
    let redis = Redis::start(&[]);
    let address = redis.address;
    run(async {
        let upstream = upstream(address);
        let login = Rc::new(Login::default());
        ask(&upstream, &login, &["PING"]).await.unwrap();
        drop(redis);
        // The end of the connection may be heard of before the next command, or by it.
        let error = ask(&upstream, &login, &["PING"]).await.unwrap_err();
        assert!(matches!(error, RedisError::Closed | RedisError::Connect(_)), "{error:?}");
        let error = ask(&upstream, &login, &["PING"]).await.unwrap_err();
        assert!(matches!(error, RedisError::Connect(_)), "{error:?}");
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 64];
            tokio::io::AsyncReadExt::read(&mut stream, &mut request).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"+PONG\r\n").await.unwrap();
        };
        let ((), ()) = tokio::join!(until_pong(&upstream, &login, BOUNDS), serve);
    });
}

/// Asks until there is an answer: a session that got no connection rests at first.
async fn until_pong(upstream: &Rc<RedisUpstream>, login: &Rc<Login>, bounds: RedisBounds) {
    let ask = async || Rc::clone(upstream).call(login, command(&["PING"]), bounds).await;
    let mut turns = tokio::time::interval(Duration::from_millis(5));
    within(async {
        loop {
            match ask().await {
                Ok(reply) => return assert_eq!(reply, "+PONG\r\n"),
                Err(_) => turns.tick().await,
            };
        }
    })
    .await;
}

const AUTH: &str = "*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n";
const PING: &str = "*1\r\n$4\r\nPING\r\n";

fn with_password() -> Rc<Login> {
    Rc::new(Login { user: "".into(), password: "p".into(), database: 0 })
}

/// What was reported as failed while the login took its time does not take effect, nor does it cost
/// the others their connection.
#[test]
fn what_is_late_before_it_is_sent_is_not_sent() {
    run(async {
        let (gate, seen) = (Rc::new(tokio::sync::Notify::new()), Rc::new(RefCell::new(Vec::new())));
        let (opened, sent) = (Rc::clone(&gate), Rc::clone(&seen));
        let origin = Origin::start(move |mut peer, _| {
            let (opened, sent) = (Rc::clone(&opened), Rc::clone(&sent));
            async move {
                peer.bytes(AUTH.len()).await;
                opened.notified().await;
                peer.send("+OK\r\n").await;
                while let Some(command) = peer.bytes(PING.len()).await {
                    sent.borrow_mut().push(command);
                    peer.send("+PONG\r\n").await;
                }
            }
        })
        .await;
        let (upstream, login) = (upstream(origin.address), with_password());
        let hasty = RedisBounds { timeout: Duration::from_millis(30), ..BOUNDS };
        let late = (0..3).map(|_| Rc::clone(&upstream).call(&login, command(&["INCR", "a"]), hasty));
        for late in late.collect::<Vec<_>>() {
            let error = within(late).await.unwrap_err();
            assert!(matches!(error, RedisError::Timeout), "{error:?}");
        }
        gate.notify_one();
        assert_eq!(ask(&upstream, &login, &["PING"]).await.unwrap(), "+PONG\r\n");
        assert_eq!(ask(&upstream, &login, &["PING"]).await.unwrap(), "+PONG\r\n");
        assert_eq!(*seen.borrow(), [PING, PING]);
        assert_eq!(origin.accepted(), 1);
    });
}

/// The first endpoint takes connections and says nothing. Commands with less time than that costs fail,
/// but the connection is being made all the same, and the endpoint that takes the login is remembered.
#[test]
fn an_endpoint_that_works_is_found_and_kept() {
    run(async {
        let deaf = Origin::start(async |mut peer, _| peer.until_closed().await).await;
        let good = Origin::start(async |mut peer, _| {
            peer.bytes(AUTH.len()).await;
            peer.send("+OK\r\n").await;
            peer.bytes(PING.len()).await;
            peer.send("+PONG\r\n").await;
        })
        .await;
        let definition = Upstream {
            protocol: Protocol::Redis,
            connect_timeout: Duration::from_millis(1500),
            refused_pause: Duration::ZERO,
            ..super::super::tests::definition(&[deaf.address, good.address])
        };
        let upstream = Rc::new(RedisUpstream::new(Arc::new(definition)));
        let (login, hasty) = (with_password(), RedisBounds { timeout: Duration::from_millis(500), ..BOUNDS });
        until_pong(&upstream, &login, hasty).await;
        good.ended(1).await;
        until_pong(&upstream, &login, hasty).await;
        good.ended(2).await;
        assert_eq!((deaf.accepted(), upstream.stats().connect_failures), (1, 1));
    });
}

#[test]
fn a_login_that_is_refused_is_not_tried_at_once_again() {
    let redis = Redis::start(&["--requirepass", "open sesame"]);
    run(async {
        let (upstream, login) = (upstream(redis.address), with_password());
        for _ in 0..1000 {
            let error = ask(&upstream, &login, &["GET", "a"]).await.unwrap_err();
            assert!(matches!(error, RedisError::Login), "{error:?}");
        }
        // Thirty of them would take two minutes.
        assert!(upstream.stats().connected < 30, "{:?}", upstream.stats());
    });
}

#[test]
fn commands_that_redis_would_not_read_do_not_cost_the_connection() {
    let redis = Redis::start(&[]);
    run(async {
        let (upstream, login) = (upstream(redis.address), Rc::new(Login::default()));
        let padded = Command::parse(b"*01\r\n$004\r\nPING\r\n").unwrap();
        let reply = within(Rc::clone(&upstream).call(&login, padded, BOUNDS)).await.unwrap();
        assert_eq!(reply, "+PONG\r\n");
        assert_eq!(ask(&upstream, &login, &["PING"]).await.unwrap(), "+PONG\r\n");
        assert_eq!(upstream.stats().connected, 1);
    });
}

/// What a filter is told if the server answers with these bytes, and then nothing.
async fn against(bytes: &'static str, bounds: RedisBounds) -> RedisError {
    let origin = Origin::start(move |mut peer, _| async move {
        peer.send(bytes).await;
        peer.until_closed().await;
    })
    .await;
    let upstream = upstream(origin.address);
    let login = Rc::new(Login::default());
    // Two at once: the first failure ends the connection for both.
    let call = || Rc::clone(&upstream).call(&login, command(&["GET", "a"]), bounds);
    let (first, _) = within(async { tokio::join!(call(), call()) }).await;
    origin.ended(1).await;
    first.unwrap_err()
}

#[test]
fn a_server_that_misbehaves_is_cut_off() {
    run(async {
        let small = RedisBounds { reply_bytes_max: 100, ..BOUNDS };
        for (bytes, expected) in [
            ("HTTP/1.1 400 Bad Request\r\n\r\n", ReplyError::Malformed),
            ("$101\r\n", ReplyError::TooLarge),
            ("*99999999999\r\n", ReplyError::TooLarge),
            (">2\r\n+message\r\n+x\r\n", ReplyError::Malformed),
        ] {
            let error = against(bytes, small).await;
            // It may have spoken before it was asked, which is an end as well.
            let is_expected = matches!(&error, RedisError::Reply(found) if *found == expected);
            assert!(is_expected || matches!(error, RedisError::Closed), "{bytes}: {error:?}");
        }
        let hasty = RedisBounds { timeout: Duration::from_millis(30), ..BOUNDS };
        assert!(matches!(against("", hasty).await, RedisError::Timeout));
        assert!(matches!(against("$5\r\nab", hasty).await, RedisError::Timeout));
    });
}

#[test]
fn a_pool_that_goes_closes_its_connections() {
    run(async {
        let origin = Origin::start(async |mut peer, _| {
            peer.bytes(14).await;
            peer.send("+PONG\r\n").await;
            peer.until_closed().await;
        })
        .await;
        let upstream = upstream(origin.address);
        let login = Rc::new(Login::default());
        assert_eq!(ask(&upstream, &login, &["PING"]).await.unwrap(), "+PONG\r\n");
        drop(upstream);
        origin.ended(1).await;
    });
}
