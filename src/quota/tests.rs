//! Windows, counters, and who comes late.

use super::*;

fn scope(name: &str) -> Scope {
    Scope { name: name.into(), route: None, service: None }
}

fn used(counts: &[i64]) -> Used {
    counts.into()
}

/// 2024-02-29T23:59:58Z.
const LEAP_DAY: u64 = 1_709_251_198;

#[test]
fn windows_are_those_of_the_calendar() {
    let moment = Moment::at(LEAP_DAY);
    let starts = Period::ALL.map(|period| moment.start(period));
    assert_eq!(
        starts,
        [LEAP_DAY, 1_709_251_140, 1_709_247_600, 1_709_164_800, 1_706_745_600, 1_704_067_200]
    );
    assert_eq!(moment.left(Period::Minute), 2);
    assert_eq!(moment.left(Period::Day), 2);
    // The last day of a month of 31 is beyond Kong's 30.
    assert_eq!(Moment::at(1_706_659_200).left(Period::Month), 1);
    for (day, date) in [(0, (1970, 0, 0)), (59, (1970, 2, 0)), (11_016, (2000, 1, 28))] {
        assert_eq!(civil(day), date);
    }
    assert_eq!(civil(20_454), (2026, 0, 0));
    assert_eq!(civil(20_453), (2025, 11, 30));
}

#[test]
fn a_new_window_begins_at_nothing() {
    let usage = Usage::default();
    let now = Moment::at(LEAP_DAY);
    assert_eq!(usage.add(Period::Month, &now, 5), 0);
    assert_eq!(usage.add(Period::Second, &now, -3), 0);
    assert_eq!((usage.used(Period::Month, &now), usage.used(Period::Second, &now)), (5, -3));
    let next = Moment::at(LEAP_DAY + 1);
    assert_eq!((usage.used(Period::Month, &next), usage.used(Period::Second, &next)), (5, 0));
    assert_eq!(usage.used(Period::Month, &Moment::at(LEAP_DAY + 2)), 0);
}

#[test]
fn counts_stop_at_their_ends() {
    let usage = Usage::default();
    let now = Moment::at(LEAP_DAY);
    usage.add(Period::Day, &now, i64::MAX);
    usage.add(Period::Day, &now, i64::MAX);
    assert_eq!(usage.used(Period::Day, &now), (1 << 39) - 1);
    usage.add(Period::Hour, &now, i64::MIN);
    assert_eq!(usage.used(Period::Hour, &now), 1 - (1 << 39));
    usage.add(Period::Second, &now, i64::MIN);
    assert_eq!(usage.used(Period::Second, &now), 1 - (1 << 31));
}

#[test]
fn who_comes_late_does_not_wipe_the_counter_of_the_next_window() {
    let usage = Usage::default();
    let (late, now) = (Moment::at(LEAP_DAY), Moment::at(LEAP_DAY + 2));
    let limits = [(Period::Second, 9.0), (Period::Month, 9.0)];
    assert!(usage.take(&limits, &now).1);
    usage.add(Period::Month, &late, 5);
    usage.add(Period::Second, &late, -1);
    assert_eq!(usage.take(&limits, &late), (used(&[0, 0]), true));
    assert_eq!(usage.take(&limits, &now), (used(&[1, 1]), true));
}

#[test]
fn windows_are_in_order_where_their_numbers_begin_again() {
    let usage = Usage::default();
    // The first minute whose number has more bits than there is room for, twice as late.
    let again = (2 << 24) * 60;
    let (before, after) = (Moment::at(again - 1), Moment::at(again));
    assert_eq!(usage.add(Period::Minute, &before, 3), 0);
    assert_eq!(usage.add(Period::Minute, &after, 4), 0);
    usage.add(Period::Minute, &before, 3);
    assert_eq!(usage.used(Period::Minute, &after), 4);
}

#[test]
fn what_one_limit_refuses_counts_for_none() {
    let usage = Usage::default();
    let now = Moment::at(LEAP_DAY);
    let limits = [(Period::Minute, 2.0), (Period::Hour, 1.5)];
    assert_eq!(usage.take(&limits, &now), (used(&[0, 0]), true));
    assert_eq!(usage.take(&limits, &now), (used(&[1, 1]), true), "half a request is left");
    assert_eq!(usage.take(&limits, &now), (used(&[2, 2]), false));
    let wider = [(Period::Minute, 9.0), (Period::Hour, 2.0)];
    assert_eq!(usage.take(&wider, &now), (used(&[2, 2]), false));
    assert_eq!(usage.used(Period::Minute, &now), 2);
}

#[test]
fn many_threads_take_exactly_what_is_there() {
    let quotas = Quotas::default();
    let now = Moment::at(LEAP_DAY);
    let took: usize = std::thread::scope(|threads| {
        let take = || {
            let mut known = Known::default();
            let take = |_: &usize| {
                let usage = known.usage(&quotas, &scope("s"), Whom::text(b"c"));
                usage.take(&[(Period::Minute, 1000.0)], &now).1
            };
            (0..500).filter(take).count()
        };
        let started: Vec<_> = (0..4).map(|_| threads.spawn(take)).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(took, 1000);
}

#[test]
fn counters_are_limited_and_the_idle_ones_go() {
    let quotas = Quotas::with_room_for(64 * 20);
    let busy = quotas.usage(&scope("s"), &Whom::text(b"busy"));
    busy.add(Period::Year, &Moment::at(LEAP_DAY), 7);
    for n in 0..10_000_u64 {
        let usage = quotas.usage(&scope("s"), &Whom::text(&n.to_le_bytes()));
        usage.used(Period::Year, &Moment::at(LEAP_DAY + n));
        busy.used(Period::Year, &Moment::at(LEAP_DAY + n));
    }
    let held: usize = quotas.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
    assert!(held <= 64 * 21, "{held}");
    assert!(Arc::ptr_eq(&busy, &quotas.usage(&scope("s"), &Whom::text(b"busy"))));
    assert!(!Arc::ptr_eq(&busy, &quotas.usage(&scope("t"), &Whom::text(b"busy"))));
}

#[test]
fn a_worker_follows_a_counter_that_was_forgotten() {
    let quotas = Quotas::with_room_for(0);
    let mut known = Known::default();
    let (scope, now) = (scope("s"), Moment::at(LEAP_DAY));
    known.usage(&quotas, &scope, Whom::text(b"c")).add(Period::Day, &now, 1);
    quotas.shards.iter().for_each(|shard| shard.lock().unwrap().clear());
    let fresh = quotas.usage(&scope, &Whom::text(b"c"));
    let same = known.usage(&quotas, &scope, Whom::text(b"c"));
    assert!(Arc::ptr_eq(&fresh, &same));
}

#[test]
fn a_long_text_is_kept_as_its_digest() {
    assert_eq!(Whom::text(b"a"), Whom::Text(Box::from(&b"a"[..])));
    assert!(matches!(Whom::text(&[b'a'; 65]), Whom::Digest(_)));
    assert_ne!(Whom::text(&[b'a'; 65]), Whom::text(&[b'a'; 66]));
}
