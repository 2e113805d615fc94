//! Answers and errors as OpenAI clients expect them, and clients that mean no good.

mod common;

use common::{get, post, raw, request, settings, up};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use supernode_live::server::Limits;
use supernode_live::{Settings, keys, text};

#[test]
fn chat_answers_have_what_clients_read() {
    let server = up(settings());
    let main = server.addresses.main;
    let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hello there"}]}]);
    let body =
        json!({"model": "model", "messages": messages, "max_tokens": 12, "seed": 5, "ignore_eos": true});
    let whole = post(main, "/v1/chat/completions", &body).json();
    let content = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(text::count(content), 12, "{content}");
    assert_eq!(whole["usage"]["completion_tokens"], 12);
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    streamed["stream_options"] = json!({"include_usage": true});
    let events = post(main, "/v1/chat/completions", &streamed).events();
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let told: String =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(told, content, "the same seed, the same answer");
    let last = events.last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(12)));
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "length");
    assert_eq!(events.len(), 1 + 12 + 1 + 1, "role, a piece per token, finish, usage");
    // A conversation that goes on finds its blocks.
    let long = "many words in a row ".repeat(40);
    let turn = |content: &str| json!({"messages": [{"role": "user", "content": content}], "max_tokens": 4, "ignore_eos": true});
    post(main, "/v1/chat/completions", &turn(&long));
    let again = post(main, "/v1/chat/completions", &turn(&long)).json();
    assert!(again["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap() > 100, "{again}");
    server.stop().unwrap();
}

#[test]
fn stops_counts_and_echoes_hold() {
    let server = up(settings());
    let main = server.addresses.main;
    let body = json!({"prompt": "go on", "max_tokens": 30, "seed": 9, "ignore_eos": true});
    let all = post(main, "/v1/completions", &body).json()["choices"][0]["text"].as_str().unwrap().to_owned();
    let word: Vec<&str> = all.split_inclusive(' ').collect();
    let stop = word[10].trim();
    let mut stopped = body.clone();
    stopped["stop"] = json!([stop, "never said"]);
    let cut = post(main, "/v1/completions", &stopped).json();
    let kept = cut["choices"][0]["text"].as_str().unwrap();
    assert_eq!(kept, &all[..all.find(stop).unwrap()]);
    assert_eq!(cut["choices"][0]["finish_reason"], "stop");
    stopped["stream"] = json!(true);
    let told: String = post(main, "/v1/completions", &stopped)
        .events()
        .iter()
        .filter_map(|e| e["choices"][0]["text"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(told, kept);
    let several = json!({"prompt": ["a b", "c d e"], "n": 3, "max_tokens": 2, "ignore_eos": true});
    let answers = post(main, "/v1/completions", &several).json();
    assert_eq!(answers["choices"].as_array().unwrap().len(), 6);
    assert_eq!(
        answers["usage"],
        json!({"prompt_tokens": 5, "completion_tokens": 12, "total_tokens": 17, "prompt_tokens_details": {"cached_tokens": 0}})
    );
    let tokens = json!({"prompt": [1, 2, 3, 4], "max_tokens": 1});
    assert_eq!(post(main, "/v1/completions", &tokens).json()["usage"]["prompt_tokens"], 4);
    let echoed = json!({"prompt": "say it", "echo": true, "max_tokens": 1, "ignore_eos": true});
    assert!(
        post(main, "/v1/completions", &echoed).json()["choices"][0]["text"]
            .as_str()
            .unwrap()
            .starts_with("say it")
    );
    server.stop().unwrap();
}

#[test]
fn the_other_routes_answer() {
    let server = up(settings());
    let main = server.addresses.main;
    for path in [
        "/health",
        "/ping",
        "/version",
        "/load",
        "/v1/models",
        "/v1/models/model",
        "/model_info",
        "/get_model_info",
        "/server_info",
        "/metrics",
        "/openapi.json",
    ] {
        assert_eq!(get(main, path).status, 200, "{path}");
    }
    let tokens = post(main, "/tokenize", &json!({"prompt": "the quick brown fox"})).json();
    assert_eq!(tokens["count"], 4);
    let back = post(main, "/detokenize", &json!({"tokens": tokens["tokens"]})).json();
    assert_eq!(back["prompt"], "the quick brown fox");
    assert_eq!(post(main, "/detokenize", &json!({"tokens": [77]})).status, 400);
    let vectors = post(main, "/v1/embeddings", &json!({"input": ["a", "b", "a"], "dimensions": 8})).json();
    assert_eq!(vectors["data"][0]["embedding"], vectors["data"][2]["embedding"]);
    assert_ne!(vectors["data"][0]["embedding"], vectors["data"][1]["embedding"]);
    let response = post(main, "/v1/responses", &json!({"input": "hello", "max_output_tokens": 5})).json();
    assert_eq!(response["object"], "response");
    assert!(response["output"][0]["content"][0]["text"].is_string());
    let rendered = post(
        main,
        "/v1/chat/completions/render",
        &json!({"messages": [{"role": "user", "content": "one two"}]}),
    )
    .json();
    assert_eq!(rendered["count"], 5);
    server.stop().unwrap();
}

#[test]
fn wrong_input_gets_the_right_status_and_disturbs_nobody() {
    let server = up(settings());
    let main = server.addresses.main;
    let bad: [(&str, Value, u16); 15] = [
        ("/v1/completions", json!({"prompt": 5}), 400),
        ("/v1/completions", json!({"prompt": "", "max_tokens": 1}), 400),
        ("/v1/completions", json!({"prompt": [], "max_tokens": 1}), 400),
        ("/v1/completions", json!({"prompt": "a", "max_tokens": 0}), 400),
        ("/v1/completions", json!({"prompt": "a", "max_tokens": "many"}), 400),
        ("/v1/completions", json!({"prompt": "a", "max_tokens": 9000}), 400),
        ("/v1/completions", json!({"prompt": "a", "n": 0}), 400),
        ("/v1/completions", json!({"prompt": "a", "temperature": -1}), 400),
        ("/v1/completions", json!({"prompt": "a", "stream_options": {}}), 400),
        ("/v1/completions", json!({"model": "other", "prompt": "a"}), 404),
        ("/v1/chat/completions", json!({"messages": []}), 400),
        ("/v1/chat/completions", json!({"messages": [{"role": "wizard", "content": "a"}]}), 400),
        ("/v1/chat/completions", json!({"messages": [{"role": "user", "content": 7}]}), 400),
        ("/v1/nothing", json!({}), 404),
        ("/v1/models", json!({}), 405),
    ];
    for (path, body, status) in bad {
        let answer = post(main, path, &body);
        assert_eq!(answer.status, status, "{path} {body}: {answer:?}");
        assert!(answer.json()["error"]["message"].is_string());
    }
    assert_eq!(
        post(main, "/v1/completions", &json!({"prompt": "a", "max_tokens": 1, "unheard_of": {"a": []}}))
            .status,
        200
    );
    for body in [&b"\xff\xfe"[..], b"{", b"null", b"[[[[", b"{\"prompt\": \"\xc3\x28\"}", b""] {
        let mut bytes = format!(
            "POST /v1/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        assert_eq!(raw(main, &bytes).status, 400, "{body:?}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(request(main, "POST", "/v1/completions", "", &deep).status, 400);
    let huge = format!("GET /health HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    assert_eq!(raw(main, huge.as_bytes()).status, 431);
    assert_eq!(raw(main, b"nonsense\r\n\r\n").status, 400);
    assert_eq!(get(main, "/health").status, 200);
    server.stop().unwrap();
}

#[test]
fn slow_and_greedy_clients_are_cut() {
    let limits = Limits {
        head_time: Duration::from_millis(300),
        body_time: Duration::from_millis(300),
        body: 1000,
        ..Limits::default()
    };
    let server = up(Settings { limits, ..settings() });
    let main = server.addresses.main;
    let started = Instant::now();
    let mut slow = TcpStream::connect(main).unwrap();
    slow.write_all(b"POST /v1/completions HT").unwrap();
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert!(started.elapsed() < Duration::from_secs(5));
    let stuck = raw(main, b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{");
    assert_eq!(stuck.status, 408);
    assert_eq!(post(main, "/v1/completions", &json!({"prompt": "a".repeat(2000)})).status, 413);
    assert_eq!(post(main, "/v1/completions", &json!({"prompt": "a", "max_tokens": 1})).status, 200);
    server.stop().unwrap();
}

#[test]
fn keys_and_limits_of_tenants_hold() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    let ((one, first), (two, second)) = (keys::make(1).unwrap(), keys::make(2).unwrap());
    std::fs::write(&path, format!("{first}rate = 0.1\n{second}concurrency = 1\n")).unwrap();
    let server = up(Settings { keys: Some(path), speed: "1".parse().unwrap(), ..settings() });
    let main = server.addresses.main;
    let body = json!({"prompt": "a", "max_tokens": 1}).to_string();
    assert_eq!(request(main, "POST", "/v1/completions", "sn-guess", &body).status, 401);
    assert_eq!(request(main, "GET", "/v1/models", "", "").status, 401);
    let statuses: Vec<u16> =
        (0..4).map(|_| request(main, "POST", "/v1/completions", &one, &body).status).collect();
    assert_eq!(statuses[0], 200);
    assert!(statuses.contains(&429), "{statuses:?}");
    let refused = (0..6)
        .map(|_| request(main, "POST", "/v1/completions", &one, &body))
        .find(|answer| answer.status == 429)
        .unwrap();
    let head = refused.head.to_ascii_lowercase();
    for line in [
        "retry-after: ",
        "x-ratelimit-limit-requests: 1\r",
        "x-ratelimit-remaining-requests: 0\r",
        "x-ratelimit-reset-requests: ",
    ] {
        assert!(head.contains(line), "`{line}` is not in {refused:?}");
    }
    assert_eq!(refused.json()["error"]["type"], "RateLimitError");
    let long = json!({"prompt": "a", "max_tokens": 150, "ignore_eos": true}).to_string();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| request(main, "POST", "/v1/completions", &two, &long).status))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    server.stop().unwrap();
}

#[test]
fn a_server_on_its_way_down_ends_what_it_has() {
    let server = up(Settings { speed: "1".parse().unwrap(), ..settings() });
    let main = server.addresses.main;
    let body = json!({"prompt": "a", "max_tokens": 50, "ignore_eos": true, "stream": true});
    let client = std::thread::spawn(move || post(main, "/v1/completions", &body));
    std::thread::sleep(Duration::from_millis(150));
    server.stop().unwrap();
    assert_eq!(client.join().unwrap().events().len(), 51);
    assert!(TcpStream::connect(main).is_err());
}

#[test]
fn with_a_certificate_the_main_port_speaks_tls() {
    use std::path::Path;
    use std::sync::Arc;
    use supernode_live::tls::Files;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
    let files = Files { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.certificate).unwrap()).unwrap();
    let server = up(Settings { tls: Some(files.clone()), ..settings() });
    let main = server.addresses.main;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(main).await.unwrap();
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text).await;
        text
    });
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(raw(main, b"GET /health HTTP/1.1\r\n\r\n").status, 0, "no plain HTTP");
    assert_eq!(get(server.addresses.admin.unwrap(), "/state").status, 200);
    server.stop().unwrap();
    let wrong = Files { key: files.certificate.clone(), ..files };
    assert!(
        supernode_live::Server::start(common::cluster(), Settings { tls: Some(wrong), ..settings() })
            .is_err()
    );
}

#[test]
fn an_address_that_others_reach_needs_keys() {
    let open = Settings { host: "0.0.0.0".parse().unwrap(), ..settings() };
    assert!(supernode_live::Server::start(common::cluster(), open).is_err());
}
