//! What tells and changes the policy: reloads, rollbacks, rollouts, shadows, comparisons.

use super::*;

#[tokio::test]
async fn a_reload_tells_what_became_of_it() {
    let phases = Phases { parse: Some(Duration::from_millis(2)), ..Phases::default() };
    let api = Api::with_outcome(ReloadOutcome::Applied { generation: 5, phases }).await;
    let (status, _, body) = api.post_reload("").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["outcome"], &body["generation"]), (200, &json!("applied"), &json!(5)));
    assert_eq!(body["phases"]["parse_ms"], json!(2.0));

    let api = Api::ready(unchanged()).await;
    let (status, _, body) = api.post_reload("").await;
    assert_eq!(status, 200);
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        json!({"outcome": "unchanged", "generation": 4})
    );
}

#[tokio::test]
async fn a_refused_policy_is_diagnosed_as_text_or_json() {
    let api = Api::with_outcome(ReloadOutcome::Refused(refusal(RefusalKind::Invalid))).await;
    for accept in
        ["", "Accept: */*\r\n", "Accept: text/plain\r\n", "Accept: text/html, application/json;q=0\r\n"]
    {
        let (status, head, body) = api.post_reload(accept).await;
        assert_eq!(status, 422);
        assert!(head.contains("content-type: text/plain"), "{accept}: {head}");
        assert!(body.starts_with("policy refused: 1 error\n"), "{body}");
        assert!(body.contains("cannot be read") && body.contains("check the path"), "{body}");
        assert!(body.ends_with("Generation 4 goes on.\n"), "{body}");
    }
    for accept in ["Accept: application/json\r\n", "Accept: text/plain;q=0.5, Application/JSON ; q=0.9\r\n"] {
        let (status, head, body) = api.post_reload(accept).await;
        assert_eq!(status, 422);
        assert!(head.contains("content-type: application/json"), "{accept}: {head}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["outcome"], &body["kind"]), (&json!("refused"), &json!("invalid")));
        assert_eq!(body["diagnostics"]["list"][0]["message"], json!("cannot be read"));
    }
}

#[tokio::test]
async fn kinds_of_refusal_have_their_status() {
    for (kind, expected) in [(RefusalKind::Immutable, 409), (RefusalKind::Internal, 500)] {
        let api = Api::with_outcome(ReloadOutcome::Refused(refusal(kind))).await;
        assert_eq!(api.post_reload("").await.0, expected);
    }
}

#[tokio::test]
async fn a_rollback_says_what_it_found() {
    let api = Api::with_outcome(ReloadOutcome::Unchanged { generation: 4 }).await;
    let (status, _, body) = api.send("POST /policy/rollback?to=3", "", "").await;
    assert_eq!(
        (status, serde_json::from_str::<Value>(&body).unwrap()["generation"].as_u64()),
        (200, Some(5))
    );
    assert_eq!(api.send("POST /policy/rollback", "", "").await.0, 404);
    for wrong in ["?to=", "?to=x", "?form=3"] {
        let (status, _, body) = api.send(&format!("POST /policy/rollback{wrong}"), "", "").await;
        assert!(status == 400 && body.contains("?to=N"), "{wrong}: {status} {body}");
    }
    assert_eq!(api.send("POST /policy/rollback?to=3", "Origin: http://127.0.0.1\r\n", "").await.0, 403);
    assert_eq!(api.get("/policy/generations/3").await.0, 404);
    assert_eq!(api.get("/policy/history").await.0, 200);
}

#[tokio::test]
async fn a_rollout_is_shown_and_steered() {
    let api = Api::ready(unchanged()).await;
    let (status, _, body) = api.get("/policy/rollout").await;
    assert_eq!((status, body.as_str()), (200, r#"{"running":null,"last":null,"events":[]}"#));
    let post = async |path: &str| api.send(&format!("POST /policy/rollout/{path}"), "", "").await;
    assert_eq!(post("promote").await.0, 200);
    let (status, _, body) = post("abort").await;
    assert_eq!((status, body.as_str()), (409, "no rollout is under way\n"));
    assert_eq!(api.get("/policy/rollout/abort").await.0, 405);
}

#[tokio::test]
async fn a_shadow_is_shown_begun_and_ended() {
    let api = Api::on_socket().await;
    let (status, _, body) = api.get("/policy/shadow").await;
    assert_eq!((status, body.as_str()), (200, r#"{"shadow":null,"samples":[]}"#));
    let post = async |query: &str| api.send(&format!("POST /policy/shadow{query}"), "", "").await;
    assert_eq!(post("?policy=/p.yaml").await.0, 200);
    assert_eq!(post("?policy=%2Fp.yaml&share=100").await.0, 200);
    let (status, _, body) = post("?policy=/wrong.yaml").await;
    assert_eq!(
        (status, body.as_str()),
        (422, "the policy is wrong in 2 places; `tollgate check` tells which\n")
    );
    for wrong in ["", "?policy=p.yaml", "?policy=/p.yaml&share=0", "?policy=/p.yaml&share=10001", "?file=/p"]
    {
        assert_eq!(post(wrong).await.0, 400, "{wrong}");
    }
    assert_eq!(api.send("DELETE /policy/shadow", "", "").await.0, 409);
    assert_eq!(api.send("DELETE /policy/shadow", "Origin: http://127.0.0.1\r\n", "").await.0, 403);
    let on_tcp = Api::ready(unchanged()).await;
    for refused in ["POST /policy/shadow?policy=/p.yaml", "DELETE /policy/shadow"] {
        let (status, _, body) = on_tcp.send(refused, "", "").await;
        assert!(status == 403 && body.contains("only on a Unix socket"), "{refused}: {status} {body}");
    }
}

/// Nothing of it is read.
#[tokio::test]
async fn a_policy_to_compare_is_not_taken_by_tcp() {
    let api = Api::ready(unchanged()).await;
    let (status, _, _) = api.send("POST /policy/diff", "Content-Length: 60000000\r\n", "").await;
    assert_eq!(status, 403);
}
