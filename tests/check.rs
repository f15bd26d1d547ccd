//! `vitalsign check` on registries in every state.
