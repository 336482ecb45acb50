//! `warmpod doctor`: what this machine offers, what that means, and what to install.
