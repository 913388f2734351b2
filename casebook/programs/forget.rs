//! A health check in Rust, where a socket is closed when its owner goes out of
//! scope.
//!
//! Forgets: on purpose. `mem::forget` was put there "to keep the connection
//! alive" for a caller that is gone since. With "keep" the server waits for the
//! next question, with "gone" it closes its side.
//! The healthy twin lets the stream go.
//!
//!     forget leak|ok keep|gone ADDRESS
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use std::{env, io, mem, process, thread};

#[inline(never)]
fn check(address: &str, question: &[u8], forgets: bool) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?; // LEAK
    stream.write_all(question)?;
    let mut answer = [0; 64];
    stream.read(&mut answer)?;
    if forgets {
        mem::forget(stream);
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().collect();
    let (forgets, gone, address) = (args[1] == "leak", args[2] == "gone", &args[3]);
    thread::spawn(|| {
        io::copy(&mut io::stdin(), &mut io::sink()).ok();
        process::exit(0);
    });
    println!("peer {address}\nready");
    for leaked in 1.. {
        check(address, if gone { b"bye\n" } else { b"ping\n" }, forgets)?;
        if forgets {
            println!("leaked {leaked}");
        }
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}
