//! Blocks by key, bounded by bytes and age; the least recently used goes first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use lru::LruCache;

use crate::failure::Failure;
use crate::memory::Block;
use crate::metrics::Metrics;

const ENTRY_OVERHEAD_BYTES: u64 = 200; // of an entry without its key and block: list, map slot, headers

type Loaded = Result<Arc<Block>, Failure>;
type Load = BoxFuture<'static, Loaded>;

pub struct Cache {
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

struct State {
    max_bytes: u64,
    ttl: Duration,
    bytes: u64,
    entries: LruCache<String, Entry>,
    /// Those under way: who asks for the same key meanwhile waits for it. It ends when nobody waits any more.
    loads: HashMap<String, WeakShared<Load>>,
}

struct Entry {
    block: Arc<Block>,
    bytes: u64,
    stored_at: Instant,
}

impl Cache {
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        let entries = LruCache::unbounded();
        let state = State { max_bytes: 0, ttl: Duration::ZERO, bytes: 0, entries, loads: HashMap::new() };
        Arc::new(Self { metrics, state: Mutex::new(state) })
    }

    /// Gives the block of a key; what is missing is loaded once, however many ask at that time.
    pub async fn get(self: &Arc<Self>, key: &str, fetch: impl Future<Output = Loaded> + Send + 'static) -> Loaded {
        let load = match self.look_up(key, Instant::now()) {
            Ok(block) => return Ok(block),
            Err(Some(running)) => running,
            Err(None) => self.begin(key, fetch),
        };
        load.await
    }

    /// Puts other bounds in force, also on what is stored already.
    pub fn retune(&self, max_bytes: u64, ttl: Duration, now: Instant) {
        let mut state = self.lock();
        (state.max_bytes, state.ttl) = (max_bytes, ttl);
        self.evict(&mut state, max_bytes);
        drop(state);
        self.sweep(now);
    }

    /// Drops what has expired.
    pub fn sweep(&self, now: Instant) {
        let mut state = self.lock();
        let ttl = state.ttl;
        let expired = |entry: &Entry| now.saturating_duration_since(entry.stored_at) >= ttl;
        let old: Vec<_> =
            state.entries.iter().filter(|(_, entry)| expired(entry)).map(|(key, _)| key.clone()).collect();
        for key in old {
            self.expire(&mut state, &key);
        }
        state.loads.retain(|_, load| load.upgrade().is_some());
    }

    /// Evicts half of what is held; the bounds stay.
    pub fn halve(&self) {
        let mut state = self.lock();
        let half = state.bytes / 2;
        self.evict(&mut state, half);
    }

    /// Bytes held, and the bound on them.
    pub fn sizes(&self) -> (u64, u64) {
        let state = self.lock();
        (state.bytes, state.max_bytes)
    }

    /// The block, else the load to wait for, if there is one.
    fn look_up(&self, key: &str, now: Instant) -> Result<Arc<Block>, Option<Shared<Load>>> {
        let mut state = self.lock();
        let ttl = state.ttl;
        match state.entries.get(key) {
            Some(entry) if now.saturating_duration_since(entry.stored_at) < ttl => {
                self.metrics.cache_hits.inc();
                return Ok(entry.block.clone());
            }
            Some(_) => self.expire(&mut state, key),
            None => {}
        }
        let running = state.loads.get(key).and_then(WeakShared::upgrade);
        if running.is_some() {
            self.metrics.cache_hits.inc();
        }
        Err(running)
    }

    fn begin(self: &Arc<Self>, key: &str, fetch: impl Future<Output = Loaded> + Send + 'static) -> Shared<Load> {
        self.metrics.cache_misses.inc();
        let (cache, name) = (self.clone(), key.to_owned());
        let load = async move {
            let loaded = fetch.await;
            cache.end(&name, &loaded);
            loaded
        };
        let load = load.boxed().shared();
        if let Some(weak) = load.downgrade() {
            self.lock().loads.insert(key.to_owned(), weak);
        }
        load
    }

    fn end(&self, key: &str, loaded: &Loaded) {
        let mut state = self.lock();
        state.loads.remove(key);
        let Ok(block) = loaded else { return };
        let bytes = block.bytes() + key.len() as u64 + ENTRY_OVERHEAD_BYTES;
        if bytes > state.max_bytes {
            return; // it would push out everything else and still not fit
        }
        let room = state.max_bytes - bytes;
        self.evict(&mut state, room);
        state.entries.put(key.to_owned(), Entry { block: block.clone(), bytes, stored_at: Instant::now() });
        state.bytes += bytes;
    }

    fn evict(&self, state: &mut State, max_bytes: u64) {
        while state.bytes > max_bytes {
            let Some((_, gone)) = state.entries.pop_lru() else { return };
            state.bytes -= gone.bytes;
            self.metrics.cache_evictions.inc();
        }
    }

    fn expire(&self, state: &mut State, key: &str) {
        if let Some(gone) = state.entries.pop(key) {
            state.bytes -= gone.bytes;
            self.metrics.cache_expired.inc();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

#[cfg(test)]
mod tests;
