"""What AWS's services and servers that speak S3 answer when they refuse, and what each answer means for a run: a table.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html,
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-policies-errors.html, and
botocore's own list of throttling codes (`botocore/retries/standard.py`).
What is not in the table goes by its HTTP status: asking again helps after 408, 409, 425, 429 and 5xx, after no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from s3transfer.exceptions import RetriesExceededError

from job.errors import AccessDeniedError, DataError, JobError, ObjectExists, ObjectMissing, StorageError, UsageError
from job.storage.pages import NO_S3, PAGE

EXPECTED_URI = "must be s3://BUCKET or s3://BUCKET/PREFIX"
CHECKSUM_ADVICE = (
    "the server does not speak S3's newer checksums: set AWS_REQUEST_CHECKSUM_CALCULATION=when_required and "
    "AWS_RESPONSE_CHECKSUM_VALIDATION=when_required, and run again"
)
CHECKSUM_WORDS = re.compile(
    r"(?i)checksum|trailer|aws-chunked|content-encoding|transfer-encoding|sha256|content-md5|crc"
)


REGION_IN_ENDPOINT = re.compile(r"(?:^|\.)s3[.-](?:dualstack\.)?([a-z]{2}(?:-[a-z]+)+-\d+)\.")
"""https://docs.aws.amazon.com/general/latest/gr/s3.html; what is before it may be a bucket's name."""


class CredentialsExpired(StorageError):
    """The service says that the credentials were good once."""


class Conflict(StorageError):
    """409: another conditional write to the key was under way; S3 asks to try again."""


class NotImplementedThere(UsageError):
    """501: the server does not know what the request asks for."""


class Fault(NamedTuple):
    """What an error code means."""

    error: type[JobError]
    message: str = "{code}: {text}"
    """With `code`, `text` (the service's words), `region` (advice where the bucket is) and `bucket` to fill in."""


DENIED = Fault(AccessDeniedError, "{code}: {text}; check the credentials and the role's policy")
EXPIRED = Fault(CredentialsExpired, "the credentials expired: {code}: {text}")
ELSEWHERE = Fault(UsageError, "{code}: {text}; {region}")
REFUSED = Fault(UsageError, "{code}: {text}; asking again does not help")
ENCRYPTION = Fault(AccessDeniedError, "{code}: {text}; check the bucket's KMS key and the role's rights to it")
LATER = Fault(StorageError)
DAMAGED = Fault(StorageError, "{code}: {text}; what was sent arrived damaged, or " + CHECKSUM_ADVICE)
WORDLESS = Fault(UsageError, "{code}: {text}, without a reason, which S3 gives; " + NO_S3)
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
"""Where a service adds a word of its own after a dot, as in `KMS.DisabledException`, the part before it counts."""
FAMILIES = {"KMS": ENCRYPTION}
STATUSES = {
    401: DENIED, 403: DENIED, 408: LATER, 409: LATER, 425: LATER, 429: LATER,
    411: UNKNOWN_CHECKSUM, 501: CODES["NotImplemented"], 505: REFUSED,
}  # fmt: skip


HEADS = {"HeadObject", "HeadBucket"}
"""Their answers have no body: of what 400 may mean to them, expired credentials are what passes."""


class Trouble(NamedTuple):
    """What an exception of botocore means that is no answer of a service."""

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
"""The first that fits counts; without one, storage may be reached later."""
NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")
"""What OpenSSL makes of an answer in plain HTTP."""
if hasattr(boto, "LoginError"):  # botocore 1.41
    TROUBLES = (Trouble((boto.LoginError,), AccessDeniedError, LOGIN_ADVICE), *TROUBLES)


@contextmanager
def translate_errors(place: str, *, profile: str = "NAME") -> Iterator[None]:
    """Turn botocore's exceptions, of S3 and of other services, into this project's; `place` begins the message."""
    try:
        yield
    except ClientError as error:
        raise _translate_answer(error, place) from error
    except boto.ParamValidationError as error:
        expected = f"{EXPECTED_URI}: " if place.startswith("s3://") else ""
        raise UsageError(f"{place}: {expected}{error.kwargs['report']}") from error
    except RetriesExceededError as error:
        raise StorageError(f"{place}: the download broke off again and again: {error.last_exception}") from error
    except (boto.IncompleteReadError, boto.ReadTimeoutError, boto.ResponseStreamingError) as error:
        raise StorageError(f"{place}: the download broke off again and again: {error}") from error
    except ResponseParserError as error:
        if PAGE.search(str(error)):
            raise UsageError(f"{place}: the answer is a page in HTML; {NO_S3}") from error
        raise StorageError(f"{place}: {error}") from error
    except BotoCoreError as error:
        raise _translate_trouble(error, place, profile) from error


def _translate_answer(error: ClientError, place: str) -> JobError:
    told = error.response.get("Error", {})
    code, text = str(told.get("Code", "")), str(told.get("Message", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "400":  # no XML says why
        fault = EXPIRED if error.operation_name in HEADS else WORDLESS
    else:
        fault = CODES.get(code) or FAMILIES.get(code.partition(".")[0]) or _judge(status, f"{code} {text}")
    message = fault.message.format(code=code or status, text=text, region=_advise_region(error))
    return fault.error(f"{place}: {message}")


@contextmanager
def never_missing(place: str) -> Iterator[None]:
    """Like `translate_errors`, for requests to which no S3 server answers that there is no such object."""
    try:
        with translate_errors(place):
            yield
    except ObjectMissing as error:
        raise UsageError(f"{place}: {quote_answer(error)}; {NO_S3}") from error.__cause__


def quote_answer(error: JobError) -> str:
    """What the server itself said, where `translate_errors` has made `error` of an answer; else the error's message."""
    if not isinstance(error.__cause__, ClientError):
        return str(error)
    told = error.__cause__.response.get("Error", {})
    return f"{told.get('Code', '')}: {told.get('Message', '')}"


def _judge(status: int, told: str) -> Fault:
    """What an answer means whose code nobody knows."""
    if status in STATUSES:
        return STATUSES[status]
    if 400 <= status < 500:
        return UNKNOWN_CHECKSUM if CHECKSUM_WORDS.search(told) else REFUSED
    return ELSEWHERE if 300 <= status < 400 else LATER


def _advise_region(error: ClientError) -> str:
    region = find_region(error.response)
    if region:
        return f"the bucket is in {region}: set AWS_DEFAULT_REGION={region}"
    endpoint = error.response.get("Error", {}).get("Endpoint")
    if endpoint:
        return f"the bucket is at {endpoint}: set AWS_DEFAULT_REGION to its region, and no other AWS_ENDPOINT_URL"
    return "set AWS_DEFAULT_REGION to the bucket's region, and check AWS_ENDPOINT_URL (http:// for https://?)"


def find_region(response: dict[str, Any]) -> str | None:
    """Where the bucket is, by a header, by the answer's XML, or by the endpoint that it names, if any says so."""
    told = response.get("Error", {})
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    in_endpoint = REGION_IN_ENDPOINT.search(told.get("Endpoint") or "")
    region = headers.get("x-amz-bucket-region") or told.get("Region") or (in_endpoint and in_endpoint[1])
    return str(region) if region else None


def _translate_trouble(error: BotoCoreError, place: str, profile: str) -> JobError:
    if isinstance(error, boto.CredentialRetrievalError):
        return _translate_retrieval(error, place, profile)
    for trouble in TROUBLES:
        if isinstance(error, trouble.kinds):
            return trouble.error(f"{place}: {str(error).rstrip('.')}; {trouble.advice.format(profile=profile)}")
    if isinstance(error, boto.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return AccessDeniedError(
            f"{place}: {error}; let AWS_CA_BUNDLE name the certificates that vouch for this server"
        )
    if isinstance(error, boto.SSLError) and any(word in str(error) for word in NO_TLS):
        return UsageError(f"{place}: {error}; the server does not speak TLS: write http:// for https://, or its port")
    cause = error.kwargs.get("error")
    if isinstance(
        cause, (ValueError, FileNotFoundError, IsADirectoryError, PermissionError)
    ):  # before anything is sent
        return UsageError(
            f"{place}: no request can be made: {cause}; check AWS_CA_BUNDLE, the proxies, and line breaks in the "
            "variables that begin with AWS_"
        )
    return StorageError(f"{place}: {error}")


def _translate_retrieval(error: boto.CredentialRetrievalError, place: str, profile: str) -> JobError:
    """A provider of credentials failed. What a program printed may hold secrets that nobody else knows."""
    if error.kwargs.get("provider") == "custom-process":
        return AccessDeniedError(
            f"{place}: the credential_process of profile {profile} failed; run its command in a shell to see why"
        )
    if re.search(r"non 200 response \(?4(?!29)\d\d", str(error)):
        return AccessDeniedError(f"{place}: {error}; check the role that this container or machine was given")
    return StorageError(f"{place}: {error}")
