use std::net::UdpSocket;
use std::{thread, time::Duration};

struct Pool;

impl Pool {
    #[inline(never)]
    fn open(&self) -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap() // SOCKET
    }
}

fn main() {
    thread::spawn(|| loop {
        drop(Pool.open());
        thread::sleep(Duration::from_millis(100));
    })
    .join()
    .unwrap();
}
