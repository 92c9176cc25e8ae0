//! `vigie peek`, `pop`, `count` and `put-back` against the real server: what they print and how they
//! end.

use std::process::Output;

use serde_json::{Value as Json, json};

use crate::house::{House, Running, stderr, stdout, wait_for};

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn house() -> House {
    let house = House::new();
    house.channel("orders", "alias = [\"/system/channels/Orders\"]");
    house
}

fn furnish(server: &Running) {
    for host in ["web01", "web02", "web03"] {
        server.push("orders", &json!({ "host": host }));
    }
}

fn told(output: &Output) -> Json {
    assert_eq!(code(output), 0, "{output:?}");
    serde_json::from_str(&stdout(output)).unwrap()
}

#[test]
fn peek_leaves_pop_takes_count_counts_and_put_back_puts_back() {
    let house = house();
    let server = house.serve();
    furnish(&server);
    let peeked = server.verb(&["peek", "orders"]);
    assert_eq!(code(&peeked), 0);
    let text = stdout(&peeked);
    assert!(text.starts_with("event orders/1\n"), "{text}");
    assert!(text.contains("{\"host\":\"web01\"}"), "{text}");
    let two = told(&server.verb(&["peek", "/system/channels/Orders", "--count", "2", "--json"]));
    assert_eq!(two["events"].as_array().unwrap().len(), 2);
    let one = told(&server.verb(&["peek", "orders", "--match", "host=web03", "--json"]));
    assert_eq!(one["events"][0]["id"], "orders/3");
    assert_eq!(stdout(&server.verb(&["count", "orders"])), "3\n");

    let popped = told(&server.verb(&["pop", "orders", "--match", "host=web02", "--json"]));
    assert_eq!(popped["id"], "orders/2");
    assert_eq!(popped["body"]["host"], "web02");
    let text = stdout(&server.verb(&["pop", "orders"]));
    assert!(text.starts_with("event orders/1\n"), "{text}");
    assert_eq!(
        told(&server.verb(&["pop", "orders/3", "--json"]))["id"],
        "orders/3"
    );
    let taken = server.verb(&["pop", "orders/3"]);
    assert_eq!(code(&taken), 1);
    assert!(
        stderr(&taken).contains("orders/3 was taken already"),
        "{taken:?}"
    );
    let shown = stdout(&server.verb(&["show", "orders/3"]));
    assert!(
        shown.contains("taken off its channel by caller loopback"),
        "{shown}"
    );

    let empty = server.verb(&["pop", "orders"]);
    assert_eq!(code(&empty), 1);
    assert_eq!(
        stderr(&empty),
        "vigie: nothing that fits waits in `orders`\n"
    );
    assert_eq!(code(&server.verb(&["peek", "orders"])), 1);
    let none = server.verb(&["count", "orders", "--json"]);
    assert_eq!(code(&none), 1);
    let counted: Json = serde_json::from_str(&stdout(&none)).unwrap();
    assert_eq!(
        (&counted["waiting"], &counted["kept"]),
        (&json!(0), &json!(3))
    );

    let back = server.verb(&["put-back", "orders/3", "orders/1"]);
    assert_eq!(
        stdout(&back),
        "orders/3 waits again\norders/1 waits again\n"
    );
    assert_eq!(stdout(&server.verb(&["count", "orders"])), "2\n");
    assert_eq!(code(&server.verb(&["put-back", "orders/3"])), 1);
    let listed = told(&server.verb(&["list", "channels", "--json"]));
    let row = listed["channels"].as_array().unwrap().iter();
    let row = row.clone().find(|row| row["name"] == "orders").unwrap();
    assert_eq!(row["waiting"], 2);
}

#[test]
fn pop_waits_for_what_comes() {
    let house = house();
    let server = house.serve();
    std::thread::scope(|scope| {
        let pop = scope.spawn(|| server.verb(&["pop", "orders", "--wait", "60s", "--json"]));
        wait_for("a taker", || {
            (server.get("channels/orders/count")["takers"] == 1).then_some(())
        });
        server.push("orders", &json!({ "host": "web01" }));
        assert_eq!(told(&pop.join().unwrap())["id"], "orders/1");
    });
    let late = server.verb(&["pop", "orders", "--wait", "100ms"]);
    assert_eq!(code(&late), 1);
    let why = stderr(&late);
    assert!(
        why.starts_with("vigie: nothing that fits came to `orders` within"),
        "{why}"
    );
}

#[test]
fn pop_asks_again_when_the_server_dies_before_it_answers() {
    let house = house().http(
        "listen = \"127.0.0.1:PORT\""
            .replace("PORT", &free_port())
            .as_str(),
    );
    let server = house.serve();
    let url = server.url.clone();
    std::thread::scope(|scope| {
        let pop = scope.spawn(|| {
            let mut command = house.command(&["pop", "orders", "--wait", "60s", "--json"]);
            command.args(["--server", &url]).output().unwrap()
        });
        wait_for("a taker", || {
            (server.get("channels/orders/count")["takers"] == 1).then_some(())
        });
        server.kill();
        let server = house.serve();
        wait_for("the same taker", || {
            (server.get("channels/orders/count")["takers"] == 1).then_some(())
        });
        server.push("orders", &json!({}));
        assert_eq!(told(&pop.join().unwrap())["id"], "orders/1");
    });
}

fn free_port() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port().to_string()
}

#[test]
fn mistakes_and_a_missing_server_end_as_everywhere() {
    let house = house();
    for wrong in [
        vec!["pop"],
        vec!["pop", "orders", "--wait", "10"],
        vec!["pop", "orders", "--wait", "1h"],
        vec!["pop", "orders", "--match", "host"],
        vec!["peek", "orders", "--count", "0"],
        vec!["put-back"],
    ] {
        assert_eq!(code(&house.run(&wrong)), 64, "{wrong:?}");
    }
    for verb in ["peek", "pop", "count", "put-back"] {
        let nobody = house.run(&[verb, "orders/1", "--server", "http://127.0.0.1:1"]);
        assert_eq!(code(&nobody), 69, "{verb} {nobody:?}");
    }
    let server = house.serve();
    for verb in ["peek", "pop", "count"] {
        let unknown = server.verb(&[verb, "odrers"]);
        assert_eq!(code(&unknown), 1, "{verb}");
        assert!(
            stderr(&unknown).contains("there is no `odrers`"),
            "{unknown:?}"
        );
    }
}
