use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::oneshot;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn cache(max_bytes: u64) -> Arc<Cache> {
    let cache = Cache::new(Arc::new(Metrics::new(&prometheus::Registry::new(), "agent").unwrap()));
    cache.retune(max_bytes, MINUTE, Instant::now());
    cache
}

async fn small() -> Loaded {
    Ok(Arc::new(Block::of(1).await.unwrap()))
}

async fn ask(cache: &Arc<Cache>, key: &str) {
    cache.get(key, small()).await.unwrap();
}

#[tokio::test]
async fn the_least_recently_used_goes_first() {
    let cache = cache(3 * 4096);
    for key in ["a", "b", "a", "c", "a"] {
        ask(&cache, key).await; // c pushes b out
    }
    assert_eq!((cache.metrics.cache_hits.get(), cache.metrics.cache_evictions.get()), (2, 1));
}

#[tokio::test]
async fn a_smaller_cache_is_evicted_at_once_and_a_shorter_life_counts_for_what_is_stored() {
    let cache = cache(1 << 30);
    for number in 0..10 {
        ask(&cache, &number.to_string()).await;
    }
    let (before, _) = cache.sizes();
    cache.retune(before / 2, MINUTE, Instant::now());
    assert_eq!((cache.sizes().0, cache.metrics.cache_evictions.get()), (before / 2, 5));
    cache.retune(before, Duration::from_secs(10), Instant::now() + Duration::from_secs(10));
    assert_eq!((cache.sizes().0, cache.metrics.cache_expired.get()), (0, 5));
}

#[tokio::test]
async fn a_block_larger_than_the_cache_is_not_kept() {
    let cache = cache(4096);
    ask(&cache, "a").await;
    assert_eq!(cache.sizes(), (0, 4096));
}

#[tokio::test]
async fn callers_of_one_key_share_a_load_and_the_first_may_leave() {
    let cache = cache(1 << 30);
    let loads = Arc::new(AtomicUsize::new(0));
    let (finish, finished) = oneshot::channel::<()>();
    let counted = loads.clone();
    let mut first = Box::pin(cache.get("the same", async move {
        counted.fetch_add(1, SeqCst);
        finished.await.unwrap();
        small().await
    }));
    assert!(futures_util::FutureExt::now_or_never(first.as_mut()).is_none());
    let (mine, counted) = (cache.clone(), loads.clone());
    let second = tokio::spawn(async move {
        mine.get("the same", async move {
            counted.fetch_add(1, SeqCst);
            small().await
        })
        .await
    });
    while cache.metrics.cache_hits.get() == 0 {
        tokio::task::yield_now().await;
    }
    drop(first);
    finish.send(()).unwrap();
    second.await.unwrap().unwrap();
    assert_eq!((loads.load(SeqCst), cache.metrics.cache_misses.get()), (1, 1));
    assert!(cache.sizes().0 > 0);
}

#[tokio::test]
async fn a_load_that_nobody_waits_for_is_cancelled() {
    let cache = cache(1 << 30);
    let (alive, gone) = oneshot::channel::<()>();
    let mut only = Box::pin(cache.get("key", async move {
        let _alive = alive;
        std::future::pending().await
    }));
    assert!(only.as_mut().now_or_never().is_none());
    drop(only);
    assert!(gone.await.is_err(), "its future was dropped");
    ask(&cache, "key").await;
    assert_eq!(cache.metrics.cache_misses.get(), 2);
}
