//! What a flow's requests may reach.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use vigie::action::Services;
use vigie::action::http::policy::is_forbidden;
use vigie::action::http::{Client, Proxy, Settings};
use vigie::standin::{Mischief, Reply, Server};

use crate::acting::{away, call, refusal};

fn allowing(allow: Option<&[&str]>) -> Services {
    let allow = allow.map(|list| list.iter().map(|one| (*one).to_owned()).collect());
    let settings = Settings {
        allow,
        proxy: Proxy::default(),
    };
    Services {
        http: Client::prepare(settings).unwrap(),
        ..Services::default()
    }
}

/// Services whose names are resolved by a function of the test.
fn resolving(
    allow: Option<&[&str]>,
    names: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static,
) -> Services {
    let allow = allow.map(|list| list.iter().map(|one| (*one).to_owned()).collect());
    let settings = Settings {
        allow,
        proxy: Proxy::default(),
    };
    Services {
        http: Client::with_names(settings, Arc::new(names)).unwrap(),
        ..Services::default()
    }
}

async fn ok() -> Server {
    Server::start(|_| Reply::empty(200)).await.unwrap()
}

#[tokio::test]
async fn link_local_and_metadata_addresses_are_refused_however_they_are_written() {
    let services = allowing(None);
    let tricky = [
        "http://169.254.169.254/latest/meta-data/",
        "http://0xA9FEA9FE/",
        "http://2852039166/",
        "http://0251.0376.0251.0376/",
        "http://169.254.43518/",
        "http://169.254.169.254./",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[64:ff9b::169.254.169.254]/",
        "http://[2002:a9fe:a9fe::]/",
        "http://[::169.254.169.254]/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://\u{FF11}\u{FF16}\u{FF19}.254.169.254/",
        "http://example.org@169.254.169.254/",
        "http://169.254.169.254:80\\@example.org/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/",
    ];
    for url in tricky {
        let said = refusal(call(&services, "http::get", json!([url])).await);
        assert!(said.contains("is not allowed"), "{url}: {said}");
    }
}

#[test]
fn only_link_local_and_metadata_are_forbidden_without_an_allow_list() {
    for fine in [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "8.8.8.8",
        "::1",
        "fd00::1",
        "::ffff:10.0.0.1",
    ] {
        assert!(!is_forbidden(fine.parse().unwrap()), "{fine}");
    }
    for bad in [
        "169.254.0.1",
        "fe80::1",
        "febf::1",
        "fd20:ce::254",
        "168.63.129.16",
        "192.0.0.192",
    ] {
        assert!(is_forbidden(bad.parse().unwrap()), "{bad}");
    }
}

#[tokio::test]
async fn a_url_with_a_password_is_refused_without_showing_it() {
    let said = refusal(
        call(
            &allowing(None),
            "http::get",
            json!(["http://a:hunter2@127.0.0.1/"]),
        )
        .await,
    );
    assert!(said.contains("inside a URL"), "{said}");
    assert!(!said.contains("hunter2"));
}

#[tokio::test]
async fn a_name_that_points_at_metadata_is_refused_when_connecting() {
    let services = resolving(None, |_| {
        vec![IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254))]
    });
    let said = refusal(call(&services, "http::get", json!(["http://rebound.example/"])).await);
    assert_eq!(
        said,
        "the address behind rebound.example is not allowed; see `allow` under [http] in settings.toml"
    );
}

#[tokio::test]
async fn a_name_that_changes_its_answer_gains_nothing() {
    let server = Server::start(|_| Reply::empty(200).with("connection", "close"))
        .await
        .unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let services = resolving(None, move |_| {
        let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
        let address = if first {
            [127, 0, 0, 1]
        } else {
            [169, 254, 169, 254]
        };
        vec![IpAddr::from(address)]
    });
    let url = format!("http://rebound.example:{}/", server.address().port());
    call(&services, "http::get", json!([url])).await.unwrap();
    let said = refusal(call(&services, "http::get", json!([url])).await);
    assert!(
        said.contains("the address behind rebound.example"),
        "{said}"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn of_several_addresses_only_the_permitted_ones_are_connected_to() {
    let server = ok().await;
    let services = resolving(None, |_| {
        vec![
            IpAddr::from([169, 254, 169, 254]),
            IpAddr::from([127, 0, 0, 1]),
        ]
    });
    let url = format!("http://mixed.example:{}/", server.address().port());
    call(&services, "http::get", json!([url])).await.unwrap();
}

#[tokio::test]
async fn an_allow_list_permits_what_it_names_and_nothing_else() {
    let server = ok().await;
    let port = server.address().port();
    let home = |_: &str| vec![IpAddr::from([127, 0, 0, 1])];
    let with_port = format!("named.example:{port}");
    let permitted = [
        ("127.0.0.0/8", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        (&format!("127.0.0.1:{port}"), "127.0.0.1"),
        ("127.0.0.0/8", "any.example"),
        ("named.example", "named.example"),
        ("named.example", "NAMED.example."),
        (&with_port, "named.example"),
        ("*.example", "deep.in.example"),
    ];
    for (entry, host) in permitted {
        let services = resolving(Some(&[entry]), home);
        let url = format!("http://{host}:{port}/");
        let outcome = call(&services, "http::get", json!([url])).await;
        assert!(outcome.is_ok(), "{entry} permits {url}: {outcome:?}");
    }
    let refused = [
        ("10.0.0.0/8", "127.0.0.1"),
        ("10.0.0.0/8", "any.example"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("127.0.0.1:1", "any.example"),
        ("named.example", "other.example"),
        ("named.example:1", "named.example"),
        ("*.example", "example"),
        ("*.example", "badexample"),
    ];
    for (entry, host) in refused {
        let services = resolving(Some(&[entry]), home);
        let said = refusal(
            call(
                &services,
                "http::get",
                json!([format!("http://{host}:{port}/")]),
            )
            .await,
        );
        assert!(
            said.contains("is not allowed"),
            "{entry} refuses {host}: {said}"
        );
    }
}

#[tokio::test]
async fn naming_a_host_with_a_port_is_not_widened_by_a_network() {
    let server = ok().await;
    let services = resolving(Some(&["named.example:1", "127.0.0.0/8"]), |_| {
        vec![IpAddr::from([127, 0, 0, 1])]
    });
    let url = format!("http://named.example:{}/", server.address().port());
    refusal(call(&services, "http::get", json!([url])).await);
}

#[tokio::test]
async fn an_allowed_name_still_cannot_point_at_metadata() {
    let services = resolving(Some(&["named.example"]), |_| {
        vec![IpAddr::from([169, 254, 169, 254])]
    });
    refusal(call(&services, "http::get", json!(["http://named.example/"])).await);
    assert!(
        allowing(Some(&["169.254.0.0/16"]))
            .http
            .clone()
            .send({
                let mut request = vigie::action::http::Request::new("GET", "http://169.254.1.1:1/");
                request.trusted = false;
                request.timeout = std::time::Duration::from_millis(20);
                request
            })
            .await
            .is_err_and(|failure| !failure.message.contains("not allowed"))
    );
}

#[test]
fn a_wrong_entry_of_the_allow_list_is_named() {
    for entry in ["10.0.0.0/33", "http://x", "a b", "", "host:port", "*"] {
        let settings = Settings {
            allow: Some(vec![entry.to_owned()]),
            proxy: Proxy::default(),
        };
        let said = Client::prepare(settings).unwrap_err();
        assert!(said.contains(&format!("{entry:?}")), "{said}");
    }
}

#[tokio::test]
async fn a_redirect_to_metadata_is_refused() {
    let server = ok().await;
    for there in [
        "http://169.254.169.254/",
        "//169.254.169.254/",
        "http://[fe80::1]/",
        "file:///etc/passwd",
    ] {
        let moved = Reply::empty(302).with("location", there);
        server.fail_next(1, Mischief::Answer(moved));
        let said = refusal(call(&allowing(None), "http::get", json!([server.url()])).await);
        assert!(said.contains("is not allowed"), "{there}: {said}");
    }
}

#[tokio::test]
async fn a_redirect_is_held_to_the_allow_list_and_to_the_address_behind_its_name() {
    let (server, other) = (ok().await, ok().await);
    let here = format!("127.0.0.1:{}", server.address().port());
    let metadata = |_: &str| vec![IpAddr::from([169, 254, 169, 254])];
    let port = other.address().port();
    let tries = [
        (allowing(Some(&[&here])), other.url()),
        (
            resolving(Some(&[&here]), |_| vec![IpAddr::from([127, 0, 0, 1])]),
            format!("http://other.example:{port}/"),
        ),
        (
            resolving(None, metadata),
            format!("http://rebound.example:{port}/"),
        ),
    ];
    for (services, there) in tries {
        let moved = Reply::empty(302).with("location", &there);
        server.fail_next(1, Mischief::Answer(moved));
        let said = refusal(call(&services, "http::get", json!([server.url()])).await);
        assert!(said.contains("is not allowed"), "{there}: {said}");
    }
    assert_eq!(server.requests().len(), 3);
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn a_proxy_is_asked_for_names_and_never_for_loopback() {
    let proxy = ok().await;
    let direct = ok().await;
    let settings = Settings {
        allow: None,
        proxy: Proxy {
            http: proxy.url(),
            https: String::new(),
        },
    };
    let names = |_: &str| Vec::new();
    let services = Services {
        http: Client::with_names(settings, Arc::new(names)).unwrap(),
        ..Services::default()
    };
    call(&services, "http::get", json!(["http://far.example/x"]))
        .await
        .unwrap();
    assert_eq!(proxy.requests().len(), 1);
    assert_eq!(proxy.requests()[0].header("host"), Some("far.example"));
    call(&services, "http::get", json!([direct.url()]))
        .await
        .unwrap();
    assert_eq!(proxy.requests().len(), 1);
    refusal(call(&services, "http::get", json!(["http://169.254.169.254/"])).await);
}

#[tokio::test]
async fn a_name_without_an_address_is_an_absence() {
    let services = resolving(None, |_| Vec::new());
    let failure = away(call(&services, "http::post", json!(["http://gone.example/"])).await);
    assert!(!failure.in_doubt);
    assert!(
        failure.message.contains("gone.example has no address"),
        "{failure}"
    );
}
