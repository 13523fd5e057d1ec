"""Tables of what AWS's services, and servers that speak S3, answer when they refuse, and what that means for a run.

`job.storage.translation` uses them.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html,
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-policies-errors.html, and
botocore's own list of throttling codes (`botocore/retries/standard.py`).
A code that is not in the table is judged by its HTTP status: asking again helps only after 408, 409, 425, 429 and 5xx.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from botocore import exceptions as boto

from job.errors import AccessDeniedError, DataError, JobError, ObjectExists, ObjectMissing, StorageError, UsageError
from job.storage.pages import NO_S3

EXPECTED_URI = "must be s3://BUCKET or s3://BUCKET/PREFIX"
CHECKSUM_ADVICE = (
    "the server does not speak S3's newer checksums: set AWS_REQUEST_CHECKSUM_CALCULATION=when_required and "
    "AWS_RESPONSE_CHECKSUM_VALIDATION=when_required, and run again"
)
CHECKSUM_WORDS = re.compile(
    r"(?i)checksum|trailer|aws-chunked|content-encoding|transfer-encoding|sha256|content-md5|crc"
)


class CredentialsExpired(StorageError):
    """The service says that the credentials were valid once, and are no longer."""


class Conflict(StorageError):
    """409: another conditional write to the key was under way; S3 asks to try again."""


class NotImplementedThere(UsageError):
    """501: the server does not know what the request asks for."""


class Fault(NamedTuple):
    """What an error code means."""

    error: type[JobError]
    message: str = "{code}: {text}"
    """It may hold `{code}`, `{text}` (the service's words) and `{region}` (advice on where the bucket is)."""


DENIED = Fault(AccessDeniedError, "{code}: {text}; check the credentials and the role's policy")
EXPIRED = Fault(CredentialsExpired, "the credentials expired: {code}: {text}")
ELSEWHERE = Fault(UsageError, "{code}: {text}; {region}")
REFUSED = Fault(UsageError, "{code}: {text}; asking again does not help")
ENCRYPTION = Fault(AccessDeniedError, "{code}: {text}; check the bucket's KMS key and the role's rights to it")
LATER = Fault(StorageError)
DAMAGED = Fault(StorageError, "{code}: {text}; what was sent arrived damaged, or " + CHECKSUM_ADVICE)
WORDLESS = Fault(UsageError, "{code}: {text}, without the reason that S3 would give; " + NO_S3)
UNKNOWN_CHECKSUM = Fault(UsageError, "{code}: {text}; " + CHECKSUM_ADVICE)

CODES: dict[str, Fault] = {
    **dict.fromkeys(("NoSuchKey", "404", "NotFound", "NoSuchVersion"), Fault(ObjectMissing, "no such object")),
    **dict.fromkeys(("PreconditionFailed", "412"), Fault(ObjectExists, "exists already")),
    **dict.fromkeys(("ConditionalRequestConflict", "409"), Fault(Conflict)),
    "NoSuchBucket": Fault(AccessDeniedError, "the bucket does not exist, or belongs to another account"),
    "InvalidBucketName": Fault(UsageError, "{code}: {text}; " + EXPECTED_URI),
    "KeyTooLongError": Fault(UsageError, "{code}: {text}; S3 takes keys of 1024 bytes: shorten the prefix"),
    "InvalidObjectState": Fault(DataError, "{code}: {text}; the object is archived: restore it, then run again"),
    "MethodNotAllowed": Fault(UsageError, "{code}: {text}; " + NO_S3),
    **dict.fromkeys(
        ("AccessDenied", "AccessDeniedException", "403", "401", "Forbidden", "Unauthorized", "InvalidAccessKeyId",
         "SignatureDoesNotMatch", "AllAccessDisabled", "AccountProblem", "InvalidSecurity", "InvalidPayer",
         "NotSignedUp", "OptInRequired", "InvalidToken", "UnrecognizedClientException", "InvalidClientTokenId",
         "IncompleteSignature", "MissingAuthenticationToken", "MissingSecurityHeader", "UnauthorizedAccess",
         "UnauthorizedOperation", "CredentialsNotSupported", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"),
        DENIED,
    ),
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"), EXPIRED),
    **dict.fromkeys(
        ("PermanentRedirect", "TemporaryRedirect", "Redirect", "AuthorizationHeaderMalformed", "301", "307", "308",
         "IllegalLocationConstraintException", "InvalidLocationConstraint", "InvalidRegion"),
        ELSEWHERE,
    ),
    "RequestTimeTooSkewed": Fault(StorageError, "this machine's clock is wrong ({text}); set it and run again"),
    **dict.fromkeys(("ValidationError", "ClientException"), Fault(UsageError, "{text}")),
    **dict.fromkeys(("BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"), DAMAGED),
    **dict.fromkeys(("MalformedTrailerError", "MissingContentMD5", "MissingContentLength"), UNKNOWN_CHECKSUM),
    "NotImplemented": Fault(NotImplementedThere, "{code}: {text}; " + CHECKSUM_ADVICE),
    **dict.fromkeys(
        ("RequestTimeout", "RequestTimeoutException", "IncompleteBody", "OperationAborted", "NoSuchUpload",
         "InvalidPart", "InvalidPartOrder", "InvalidRange", "SlowDown", "Throttling", "ThrottlingException",
         "ThrottledException",
         "RequestThrottled", "RequestThrottledException", "TooManyRequestsException", "RequestLimitExceeded",
         "BandwidthLimitExceeded", "LimitExceededException", "PriorRequestNotComplete", "BusyBucket",
         "ServiceUnavailable", "InternalError"),
        LATER,
    ),
}  # fmt: skip
"""Faults by the code of an answer."""
FAMILIES = {"KMS": ENCRYPTION}
"""Faults by the part of a code before its dot, as in `KMS.DisabledException`."""
STATUSES = {
    401: DENIED, 403: DENIED, 408: LATER, 409: LATER, 425: LATER, 429: LATER,
    411: UNKNOWN_CHECKSUM, 501: CODES["NotImplemented"], 505: REFUSED,
}  # fmt: skip


HEADS = {"HeadObject", "HeadBucket"}
"""Their answers have no body that gives a reason. A 400 is then taken for expired credentials: of its possible reasons
only this one may pass."""


class Trouble(NamedTuple):
    """The meaning of a botocore exception that was raised without an answer of a service."""

    kinds: tuple[type[Exception], ...]
    error: type[JobError]
    advice: str = ""


SSO_ADVICE = "log in with `aws sso login --profile {profile}` and run again"
LOGIN_ADVICE = "log in with `aws login --profile {profile}` and run again"
TROUBLES: tuple[Trouble, ...] = (
    Trouble((boto.NoCredentialsError,), AccessDeniedError, "boto3's default credential chain has none: set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role"),
    Trouble((boto.PartialCredentialsError,), AccessDeniedError, "set what is missing, or remove the rest"),
    Trouble((boto.ProfileNotFound,), AccessDeniedError, "set AWS_PROFILE to a profile of ~/.aws/config (or of the file "
            "that AWS_CONFIG_FILE names), or unset it"),
    Trouble((boto.ConfigParseError, boto.ConfigNotFound), AccessDeniedError, "mend the file, or let AWS_CONFIG_FILE "
            "and AWS_SHARED_CREDENTIALS_FILE name others"),
    Trouble((boto.SSOError, boto.TokenRetrievalError, boto.NoAuthTokenError), AccessDeniedError, SSO_ADVICE),
    Trouble((boto.RefreshWithMFAUnsupportedError, boto.UnknownCredentialError, boto.InvalidConfigError,
             boto.MissingDependencyException, boto.InvalidIMDSEndpointError, boto.InvalidIMDSEndpointModeError),
            AccessDeniedError, "check the profile {profile} in AWS's config file"),
    Trouble((boto.NoRegionError, boto.InvalidRegionError, boto.UnknownRegionError), UsageError,
            "set AWS_DEFAULT_REGION, such as eu-central-1"),
    Trouble((boto.InvalidRetryConfigurationError, boto.InvalidS3AddressingStyleError, boto.InvalidDefaultsMode,
             boto.InvalidChecksumConfigError, boto.InvalidProxiesConfigError, boto.InvalidEndpointConfigurationError,
             boto.EndpointVariantError, boto.EndpointProviderError, boto.UnsupportedS3ConfigurationError,
             boto.UnsupportedS3AccesspointConfigurationError, boto.UnsupportedS3ArnError, boto.InvalidDNSNameError,
             boto.UnsupportedSignatureVersionError, boto.UnknownSignatureVersionError),
            UsageError, "check the variables that begin with AWS_ and AWS's config file"),
    Trouble((boto.FlexibleChecksumError,), StorageError, "the answer arrived damaged, or " + CHECKSUM_ADVICE),
    Trouble((boto.AwsChunkedWrapperError,), StorageError, CHECKSUM_ADVICE),
)  # fmt: skip
"""The first one that fits counts. If none fits, it is a `StorageError` (74): storage may be reached later."""
NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")
"""Words in OpenSSL's error when a server answers in plain HTTP."""
if hasattr(boto, "LoginError"):  # botocore 1.41
    TROUBLES = (Trouble((boto.LoginError,), AccessDeniedError, LOGIN_ADVICE), *TROUBLES)
