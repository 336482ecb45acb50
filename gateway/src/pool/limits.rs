//! Lambda's concurrency limits, exact at every moment: three counters and a permit that gives back on drop.
//!
//! A function with reserved concurrency takes from its own reservation; all others share what the reservations leave of
//! the account. The account's total is a limit of its own, so that a reservation made while others run cannot lift the
//! sum above it. <https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html>

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// `reserved` holds this while a function has no reservation.
const NONE: u32 = u32::MAX;

/// One account in one region.
#[derive(Debug)]
pub struct AccountLimits {
    limit: u32,
    /// Least that stays unreserved.
    minimum_unreserved: u32,
    running: AtomicU32,
    unreserved_running: AtomicU32,
    reserved_sum: AtomicU32,
}

/// One function, all its versions together.
#[derive(Debug)]
pub struct FunctionLimits {
    account: Arc<AccountLimits>,
    reserved: AtomicU32,
    running: AtomicU32,
}

/// The right to run one invocation.
#[derive(Debug)]
pub struct Permit {
    function: Arc<FunctionLimits>,
    from_reservation: bool,
}

/// Why an invocation was throttled, as AWS names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    ReservedFunctionConcurrentInvocationLimitExceeded,
    ConcurrentInvocationLimitExceeded,
}

impl Throttle {
    pub fn reason(self) -> &'static str {
        match self {
            Self::ReservedFunctionConcurrentInvocationLimitExceeded => {
                "ReservedFunctionConcurrentInvocationLimitExceeded"
            }
            Self::ConcurrentInvocationLimitExceeded => "ConcurrentInvocationLimitExceeded",
        }
    }
}

/// Adds one unless that would pass `limit`.
fn take(counter: &AtomicU32, limit: u32) -> bool {
    counter
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |running| (running < limit).then_some(running + 1))
        .is_ok()
}

impl AccountLimits {
    pub fn new(limit: u32, minimum_unreserved: u32) -> Arc<Self> {
        Arc::new(Self {
            limit,
            minimum_unreserved,
            running: AtomicU32::new(0),
            unreserved_running: AtomicU32::new(0),
            reserved_sum: AtomicU32::new(0),
        })
    }

    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// What the reservations leave for everyone else.
    pub fn unreserved(&self) -> u32 {
        self.limit.saturating_sub(self.reserved_sum.load(Ordering::Acquire))
    }

    /// Invocations that run now.
    #[cfg(test)]
    fn running(&self) -> u32 {
        self.running.load(Ordering::Acquire)
    }
}

impl FunctionLimits {
    pub fn new(account: Arc<AccountLimits>) -> Arc<Self> {
        Arc::new(Self { account, reserved: AtomicU32::new(NONE), running: AtomicU32::new(0) })
    }

    pub fn reserved(&self) -> Option<u32> {
        let reserved = self.reserved.load(Ordering::Acquire);
        (reserved != NONE).then_some(reserved)
    }

    /// Sets or takes away the reservation; refused (with nothing changed) where too little would stay unreserved.
    pub fn reserve(&self, reserved: Option<u32>) -> Result<(), NotEnoughUnreserved> {
        let account = &self.account;
        let before = self.reserved().unwrap_or(0);
        let wanted = reserved.unwrap_or(0);
        let fits = |sum: u32| {
            let after = u64::from(sum - before) + u64::from(wanted);
            let most = u64::from(account.limit.saturating_sub(account.minimum_unreserved));
            (after <= most || wanted <= before).then_some(u32::try_from(after).unwrap_or(u32::MAX))
        };
        account
            .reserved_sum
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
            .map_err(|_| NotEnoughUnreserved { minimum: account.minimum_unreserved })?;
        self.reserved.store(reserved.unwrap_or(NONE), Ordering::Release);
        Ok(())
    }

    pub fn acquire(self: &Arc<Self>) -> Result<Permit, Throttle> {
        let account = &self.account;
        if !take(&account.running, account.limit) {
            return Err(Throttle::ConcurrentInvocationLimitExceeded);
        }
        let (from_reservation, granted) = match self.reserved() {
            Some(reserved) => (true, take(&self.running, reserved)),
            None => {
                let granted = take(&account.unreserved_running, account.unreserved());
                if granted {
                    self.running.fetch_add(1, Ordering::AcqRel);
                }
                (false, granted)
            }
        };
        if !granted {
            account.running.fetch_sub(1, Ordering::AcqRel);
            return Err(match from_reservation {
                true => Throttle::ReservedFunctionConcurrentInvocationLimitExceeded,
                false => Throttle::ConcurrentInvocationLimitExceeded,
            });
        }
        Ok(Permit { function: self.clone(), from_reservation })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let function = &self.function;
        function.running.fetch_sub(1, Ordering::AcqRel);
        if !self.from_reservation {
            function.account.unreserved_running.fetch_sub(1, Ordering::AcqRel);
        }
        function.account.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error(
    "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [{minimum}]."
)]
pub struct NotEnoughUnreserved {
    pub minimum: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_limit_is_exact_and_permits_return_on_drop() {
        let function = FunctionLimits::new(AccountLimits::new(3, 0));
        let held: Vec<_> = (0..3).map(|_| function.acquire().expect("below the limit")).collect();
        assert_eq!(function.acquire().unwrap_err(), Throttle::ConcurrentInvocationLimitExceeded);
        drop(held);
        assert!(function.acquire().is_ok());
    }

    #[test]
    fn reservation_caps_its_function_and_is_kept_from_others() {
        let account = AccountLimits::new(10, 2);
        let (reserved, other) = (FunctionLimits::new(account.clone()), FunctionLimits::new(account.clone()));
        reserved.reserve(Some(8)).unwrap();
        let held: Vec<_> = (0..8).map(|_| reserved.acquire().unwrap()).collect();
        assert_eq!(reserved.acquire().unwrap_err(), Throttle::ReservedFunctionConcurrentInvocationLimitExceeded);
        let others: Vec<_> = (0..2).map(|_| other.acquire().unwrap()).collect();
        assert_eq!(other.acquire().unwrap_err(), Throttle::ConcurrentInvocationLimitExceeded);
        assert_eq!(account.running(), 10);
        drop((held, others));
        assert_eq!(account.running(), 0);
    }

    #[test]
    fn reservation_of_zero_throttles_everything() {
        let function = FunctionLimits::new(AccountLimits::new(10, 0));
        function.reserve(Some(0)).unwrap();
        assert_eq!(function.acquire().unwrap_err(), Throttle::ReservedFunctionConcurrentInvocationLimitExceeded);
        function.reserve(None).unwrap();
        assert!(function.acquire().is_ok());
    }

    #[test]
    fn reservation_made_under_load_never_lifts_the_total() {
        let account = AccountLimits::new(10, 2);
        let (busy, reserved) = (FunctionLimits::new(account.clone()), FunctionLimits::new(account.clone()));
        let held: Vec<_> = (0..9).map(|_| busy.acquire().unwrap()).collect();
        reserved.reserve(Some(8)).unwrap();
        let _one = reserved.acquire().unwrap();
        assert_eq!(reserved.acquire().unwrap_err(), Throttle::ConcurrentInvocationLimitExceeded);
        assert_eq!(account.running(), 10);
        drop(held);
    }

    #[test]
    fn minimum_unreserved_is_kept() {
        let account = AccountLimits::new(1000, 100);
        let (a, b) = (FunctionLimits::new(account.clone()), FunctionLimits::new(account.clone()));
        assert_eq!(a.reserve(Some(901)), Err(NotEnoughUnreserved { minimum: 100 }));
        a.reserve(Some(900)).unwrap();
        assert!(b.reserve(Some(1)).is_err());
        a.reserve(Some(100)).unwrap();
        b.reserve(Some(800)).unwrap();
        assert_eq!(account.unreserved(), 100);
    }
}
