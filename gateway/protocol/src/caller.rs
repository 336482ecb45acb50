//! Who calls, and where to: read from a request's signature, which is not checked.
//!
//! The credential scope of Signature Version 4 names access key, region and service; it stands in the Authorization
//! header or in the query of a presigned URL. An access key of 12 digits is the account. This runs for each invocation:
//! one pass, nothing allocated, nothing trusted (a scope with odd characters counts as no signature).
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller<'r> {
    /// None: the request is not signed.
    pub access_key: Option<&'r str>,
    pub account: &'r str,
    pub region: &'r str,
    pub service: Option<&'r str>,
}

impl Caller<'static> {
    pub const DEFAULT_ACCOUNT: &'static str = "000000000000";
    pub const DEFAULT_REGION: &'static str = "us-east-1";
    pub const UNSIGNED: Caller<'static> =
        Caller { access_key: None, account: Caller::DEFAULT_ACCOUNT, region: Caller::DEFAULT_REGION, service: None };
}

impl<'r> Caller<'r> {
    /// From the Authorization header and the raw query of a request.
    pub fn of(authorization: Option<&'r str>, query: Option<&'r str>) -> Caller<'r> {
        let signed = authorization.and_then(|header| Caller::from_scope(after(header, "Credential=")?, '/'));
        let presigned = || {
            let scope = after(query?, "X-Amz-Credential=")?;
            Caller::from_scope(scope, '%').or_else(|| Caller::from_scope(scope, '/'))
        };
        signed.or_else(presigned).unwrap_or(Caller::UNSIGNED)
    }

    /// `AKIDEXAMPLE/20251103/us-east-1/lambda/aws4_request`, and whatever follows it; the slash may be encoded (`%2F`).
    fn from_scope(mut scope: &'r str, separator: char) -> Option<Caller<'r>> {
        let mut part = || {
            let (part, rest) = scope.split_once(separator)?;
            scope = if separator == '%' { rest.strip_prefix("2F")? } else { rest };
            Some(part)
        };
        let (access_key, _date, region, service) = (part()?, part()?, part()?, part()?);
        if !is_word(access_key) || !is_word(region) || !is_word(service) {
            return None;
        }
        let is_account = access_key.len() == 12 && access_key.bytes().all(|byte| byte.is_ascii_digit());
        let account = if is_account { access_key } else { Caller::DEFAULT_ACCOUNT };
        Some(Caller { access_key: Some(access_key), account, region, service: Some(service) })
    }
}

/// What follows the key, which is the text's first or second word in what SDKs send.
fn after<'r>(text: &'r str, key: &str) -> Option<&'r str> {
    let second = text.split_once([' ', '&']).and_then(|(_, rest)| rest.strip_prefix(key));
    second.or_else(|| text.find(key).map(|at| &text[at + key.len()..]))
}

fn is_word(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=123456789012/20251103/eu-west-1/lambda/aws4_request, \
                          SignedHeaders=host;x-amz-date, Signature=abc";

    #[test]
    fn a_signed_request_tells_account_region_and_service() {
        let caller = Caller::of(Some(SIGNED), None);
        let wanted = Caller {
            access_key: Some("123456789012"),
            account: "123456789012",
            region: "eu-west-1",
            service: Some("lambda"),
        };
        assert_eq!(caller, wanted);
    }

    #[test]
    fn an_ordinary_access_key_is_the_default_account() {
        let header = SIGNED.replace("123456789012", "AKIAIOSFODNN7EXAMPLE");
        let caller = Caller::of(Some(&header), None);
        assert_eq!((caller.access_key, caller.account), (Some("AKIAIOSFODNN7EXAMPLE"), "000000000000"));
    }

    #[test]
    fn a_presigned_query_counts_with_slashes_plain_or_encoded() {
        for separator in ["%2F", "/"] {
            let scope = ["111122223333", "20251103", "us-west-2", "s3", "aws4_request"].join(separator);
            let query =
                format!("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={scope}&X-Amz-Date=20251103T000000Z");
            let caller = Caller::of(None, Some(&query));
            assert_eq!((caller.account, caller.region, caller.service), ("111122223333", "us-west-2", Some("s3")));
        }
    }

    #[test]
    fn what_is_no_signature_is_an_unsigned_call() {
        let odd = [
            "",
            "Basic YTpi",
            "AWS4-HMAC-SHA256 Credential=",
            "AWS4-HMAC-SHA256 Credential=a/b/c",
            "AWS4-HMAC-SHA256 Credential=a/20251103/us east 1/lambda/aws4_request",
            "Credential=a/b//d/e",
            "Credential=a/b/\u{1F600}/d/e",
        ];
        for header in odd {
            assert_eq!(Caller::of(Some(header), None), Caller::UNSIGNED, "{header}");
        }
        assert_eq!(Caller::of(None, Some("X-Amz-Credential=%2F%2F%2F%2F")), Caller::UNSIGNED);
        assert_eq!(Caller::of(None, None), Caller::UNSIGNED);
    }
}
