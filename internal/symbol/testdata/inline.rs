// Prints an address inside a function that is inlined, then waits.
use std::io::Read;
mod pool {
    #[inline(always)]
    fn here() -> usize {
        let at: usize;
        #[cfg(target_arch = "x86_64")]
        unsafe { std::arch::asm!("lea {}, [rip]", out(reg) at) } // LINE inline::pool::here
        #[cfg(target_arch = "aarch64")]
        unsafe { std::arch::asm!("adr {}, .", out(reg) at) }
        at
    }
    pub struct Pool<T>(pub T);
    impl<T> Pool<T> {
        #[inline(never)]
        pub fn open(&self) -> usize {
            here() // LINE inline::pool::Pool<T>::open
        }
    }
}
fn main() {
    println!("{:#x}", pool::Pool(1u32).open());
    let _ = std::io::stdin().read(&mut [0]);
}
