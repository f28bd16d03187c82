//! The qed format.
