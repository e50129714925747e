//! What can be reached from outside: the two listeners that are documented, and nothing else.
//!
//! Why so: a port nobody knows of is watched by nobody. The kernel is asked, not the program: of all sockets in the process'
//! network namespace those that its own descriptors refer to. Limits: Linux; that the image and the manifests expose no other
//! port is for the tests of those.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::harness::{App, Options, Redis, eventually};
use crate::keys::patient;

/// The state of a TCP socket that takes connections, as `/proc/net/tcp` writes it.
const LISTEN: &str = "0A";

/// The numbers of the sockets a process has open.
fn sockets(pid: u32) -> BTreeSet<String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process of ours");
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let inode = |target: &str| Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    targets.filter_map(|target| inode(target.to_str()?)).collect()
}

/// An address as the kernel writes it: words of four bytes, each with the machine's own order of bytes, and the port.
fn address(text: &str) -> SocketAddr {
    let (ip, port) = text.split_once(':').expect("address and port");
    let words = ip.as_bytes().chunks(8).map(|word| std::str::from_utf8(word).expect("digits"));
    let bytes: Vec<u8> =
        words.flat_map(|word| u32::from_str_radix(word, 16).expect("hexadecimal").to_ne_bytes()).collect();
    let ip: IpAddr = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(four) => Ipv4Addr::from(four).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..]).expect("an address of 16 bytes")).into(),
    };
    SocketAddr::new(ip, u16::from_str_radix(port, 16).expect("a port"))
}

/// Where a process can be reached: its listening TCP sockets and all of its UDP sockets.
fn open_ports(pid: u32) -> BTreeSet<SocketAddr> {
    let own = sockets(pid);
    let mut open = BTreeSet::new();
    for (table, only_listening) in [("tcp", true), ("tcp6", true), ("udp", false), ("udp6", false)] {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if own.contains(fields[9]) && (!only_listening || fields[3] == LISTEN) {
                open.insert(address(fields[1]));
            }
        }
    }
    open
}

fn documented(app: &App) -> BTreeSet<SocketAddr> {
    BTreeSet::from([app.public(), app.operator()])
}

#[tokio::test]
async fn the_service_listens_on_its_two_ports_and_on_no_other() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    assert_eq!(open_ports(app.pid()), documented(&app));
    // Whatever it opens when it works, it is not a port; the connections to Redis are there by now.
    let client = app.client();
    assert_eq!(client.put_key("k", "v").await.status, 201);
    let stream = client.subscribe("c").await;
    assert_eq!(open_ports(app.pid()), documented(&app));
    drop(stream);
    assert!(
        sockets(app.pid()).len() > 2 && open_ports(redis.pid()).contains(&redis.address()),
        "the search finds others"
    );
}

#[tokio::test]
async fn an_embedded_redis_opens_no_port() {
    let app = App::builder().start().await;
    eventually(Duration::from_secs(10), async || app.client().put_key("k", "v").await.is_success()).await;
    let child = fs::read_to_string(app.data_directory().join("redis.pid")).expect("the child's id");
    assert_eq!(open_ports(child.trim().parse().expect("a number")), BTreeSet::new());
    assert_eq!(open_ports(app.pid()), documented(&app));
}
