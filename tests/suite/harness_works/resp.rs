//! Frames are found however a stream is cut.

use crate::harness::resp::{Scanner, Step, arguments, encode};
use crate::harness::seeded;

#[test]
fn frames_are_found_however_the_stream_is_cut() {
    let frames: [&[u8]; 11] = [
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":-12\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"$0\r\n\r\n",
        b"$7\r\na\r\nb*3\n\r\n",
        b"*3\r\n*2\r\n:1\r\n*0\r\n$3\r\nfoo\r\n*1\r\n*1\r\n$-1\r\n",
        b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n_\r\n",
        b"|1\r\n+ttl\r\n:3\r\n$1\r\nv\r\n",
    ];
    let stream = frames.concat();
    let mut random = seeded(7);
    for _ in 0..500 {
        let mut scanner = Scanner::default();
        let (mut found, mut frame, mut at) = (Vec::new(), Vec::new(), 0);
        while at < stream.len() {
            let end = (at + random.usize(1..6)).min(stream.len());
            while at < end {
                let used = match scanner.advance(&stream[at..end]) {
                    Step::Whole(used) => used,
                    Step::Partial => end - at,
                    Step::NotResp => panic!("refused its own protocol"),
                };
                frame.extend_from_slice(&stream[at..at + used]);
                at += used;
                if scanner.between_frames() {
                    found.push(std::mem::take(&mut frame));
                }
            }
        }
        assert_eq!(found, frames.map(<[u8]>::to_vec));
    }
}

#[test]
fn what_is_not_the_protocol_is_said_so() {
    assert_eq!(Scanner::default().advance(&[0x16, 3, 1]), Step::NotResp);
    assert_eq!(Scanner::default().advance(b"*x\r\n"), Step::NotResp);
    assert_eq!(Scanner::default().advance(b"$-7\r\n"), Step::NotResp);
}

#[test]
fn arguments_of_arrays_and_inline_commands_are_read() {
    assert_eq!(arguments(&encode(&["SET", "k", "a\r\nb"]))[2], b"a\r\nb");
    assert_eq!(arguments(b"ping  hello\r\n"), [b"ping".to_vec(), b"hello".to_vec()]);
    assert!(arguments(b"\r\n").is_empty());
    assert!(arguments(b"*0\r\n").is_empty());
}
