// Leaks COUNT sockets, PAUSE ms apart, and ends.
extern "C" {
    fn socket(domain: i32, kind: i32, protocol: i32) -> i32;
}

#[inline(never)]
fn leak_here() -> i32 {
    let fd = unsafe { socket(2, 1, 0) }; // LEAK
    std::hint::black_box(fd)
}

fn main() {
    let args: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    for _ in 0..args[0] {
        leak_here();
        std::thread::sleep(std::time::Duration::from_millis(args[1]));
    }
}
