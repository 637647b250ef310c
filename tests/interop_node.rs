//! The clients in JavaScript and CoffeeScript: each with every back-end.

mod support;

use std::process::Command;

use support::hello::five_replies;
use support::process::printed;
use support::programs;

five_replies!(javascript, javascript_client);
five_replies!(coffeescript, coffeescript_client);

fn javascript_client(endpoint: &str) -> String {
    let directory = programs::node("clients/javascript");
    let mut client = Command::new("node");
    printed("the client in JavaScript", client.arg("client.js").arg(endpoint).current_dir(directory))
}

fn coffeescript_client(endpoint: &str) -> String {
    let directory = programs::node("clients/coffeescript");
    let mut client = Command::new(directory.join("node_modules/.bin/coffee"));
    printed("the client in CoffeeScript", client.arg("client.coffee").arg(endpoint).current_dir(directory))
}
