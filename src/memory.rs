//! The allocator, which counts the bytes that each thread holds, so that a script can be stopped
//! before it eats the machine. The one module that may hold `unsafe`: a global allocator cannot be
//! written without.
//!
//! Rhai's own size limits do not see what closures capture (2.3 GB in five seconds was measured
//! with every limit on); this does, because nothing allocates around it.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

// Fuzzing watches the system's allocator.
#[cfg(not(fuzzing))]
use mimalloc::MiMalloc as Beneath;
#[cfg(fuzzing)]
use std::alloc::System as Beneath;

thread_local! {
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
}

/// mimalloc with a counter per thread. An event is allocated by one thread and freed by another, which
/// costs the system's own allocator a fifth of all processor time of a busy server.
pub struct Counting;

/// Bytes that this thread has allocated and not freed; only differences mean something, since
/// memory may be freed by another thread than the one that allocated it.
pub fn live_bytes() -> isize {
    LIVE_BYTES.try_with(Cell::get).unwrap_or(0)
}

/// Gives memory that nobody uses back to the system at once, which takes a few milliseconds; by itself
/// that comes a while later, and never in a server at rest.
pub fn give_back() {
    // SAFETY: it may be called at any time on any thread.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

fn count(bytes: isize) {
    // While a thread ends its counter may be gone already; nobody reads it then.
    let _ = LIVE_BYTES.try_with(|live| live.set(live.get().wrapping_add(bytes)));
}

// SAFETY: every call is handed unchanged to the allocator beneath; the counter neither allocates
// nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { Beneath.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc_zeroed`.
        unsafe { Beneath.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the pointer came from `alloc` above with the same layout.
        unsafe { Beneath.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`.
        unsafe { Beneath.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
