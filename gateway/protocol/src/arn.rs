//! Amazon Resource Names: `arn:partition:service:region:account:resource`.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>

use std::fmt::{Display, Formatter, Result as Written};

/// An ARN's parts, borrowed from its text. Region and account are empty where a kind of resource has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arn<'a> {
    pub partition: &'a str,
    pub service: &'a str,
    pub region: &'a str,
    pub account: &'a str,
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    pub fn parse(text: &'a str) -> Option<Arn<'a>> {
        let mut parts = text.strip_prefix("arn:")?.splitn(5, ':');
        let mut part = || parts.next();
        let arn = Arn { partition: part()?, service: part()?, region: part()?, account: part()?, resource: part()? };
        (!arn.partition.is_empty() && !arn.service.is_empty() && !arn.resource.is_empty()).then_some(arn)
    }

    /// The partition that a region belongs to.
    pub fn partition_of(region: &str) -> &'static str {
        match region {
            _ if region.starts_with("cn-") => "aws-cn",
            _ if region.starts_with("us-gov-") => "aws-us-gov",
            _ if region.starts_with("eusc-") => "aws-eusc",
            _ => "aws",
        }
    }
}

impl Display for Arn<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        let Arn { partition, service, region, account, resource } = self;
        write!(f, "arn:{partition}:{service}:{region}:{account}:{resource}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_is_read_and_written_unchanged() {
        for text in [
            "arn:aws:lambda:us-east-1:123456789012:function:f:$LATEST",
            "arn:aws:s3:::bucket/key:with:colons",
            "arn:aws-cn:lambda:cn-north-1::runtime:abc",
        ] {
            assert_eq!(Arn::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_lacks_a_part_is_no_arn() {
        for text in [
            "",
            "arn:",
            "arn:aws",
            "arn:aws:lambda:us-east-1:123456789012",
            "arn:aws:lambda:::",
            "arn::s3:::b",
            "function:f",
        ] {
            assert_eq!(Arn::parse(text), None, "{text}");
        }
    }
}
