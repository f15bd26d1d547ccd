//! The memory and table limits of one run, over all its memories and tables together.
//!
//! Wasmtime asks before each growth. A refusal is remembered, so that the trap which usually follows can be explained.

use wasmtime::ResourceLimiter;

use super::{engine::plain, settings::Limits};

/// Counts what one run has taken of its limits.
pub(super) struct Meter {
    memory_bytes: usize,
    memory_limit_bytes: usize,
    table_elements: usize,
    table_limit_elements: usize,
    instances: usize,
    hit: Option<&'static str>,
    refused: Option<String>,
}

impl Meter {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            memory_bytes: 0,
            memory_limit_bytes: limits.memory_bytes,
            table_elements: 0,
            table_limit_elements: limits.table_elements,
            instances: limits.instances,
            hit: None,
            refused: None,
        }
    }

    /// The limit that was hit first, by its name in the configuration.
    pub(super) fn hit(&self) -> Option<&'static str> {
        self.hit
    }

    /// What the system said when it had no memory for a growth that the limits allowed.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Whether `used` may grow from `current` to `desired` under `limit`; if so, counts it.
    fn grow(used: &mut usize, current: usize, desired: usize, limit: usize) -> bool {
        let grown = used.saturating_add(desired.saturating_sub(current));
        let allowed = grown <= limit;
        if allowed {
            *used = grown;
        }
        allowed
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // Growth beyond the memory's own maximum fails anyway, and the limit is not the reason.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let allowed = Self::grow(&mut self.memory_bytes, current, desired, self.memory_limit_bytes);
        if !allowed {
            self.hit.get_or_insert("memoryBytes");
        }
        Ok(allowed)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused.get_or_insert_with(|| plain(&error));
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let allowed = Self::grow(&mut self.table_elements, current, desired, self.table_limit_elements);
        if !allowed {
            self.hit.get_or_insert("tableElements");
        }
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        self.instances
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_counted_together() {
        let mut meter = Meter::new(&Limits { memory_bytes: 100, ..Limits::default() });
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(meter.memory_growing(0, 40, None).unwrap());
        assert_eq!(meter.hit(), None);
        assert!(!meter.memory_growing(40, 41, None).unwrap());
        assert_eq!(meter.hit(), Some("memoryBytes"));
    }

    #[test]
    fn a_memory_s_own_maximum_is_not_our_limit() {
        let mut meter = Meter::new(&Limits::default());
        assert!(!meter.memory_growing(0, 11, Some(10)).unwrap());
        assert_eq!(meter.hit(), None);
    }
}
