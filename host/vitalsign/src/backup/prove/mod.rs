//! Proving an archive: unpacking it and holding it against what it says of itself.

pub(crate) mod unpacked;

pub(crate) mod include;
pub(crate) mod plain_copy;

pub(crate) mod unpack;

pub(crate) mod verify;
