//! What a sandbox keeps in. Each test tries to get out in one way, first with all layers on, which must fail, then with
//! the layers off that are meant to stop it, which must work: so that no test passes because the attempt is broken.
//!
//! The attempts are Python, since it can make any system call. As root every test runs twice: as root, and as an
//! ordinary user.

mod end;
mod escape;
mod inside;
mod trial;
