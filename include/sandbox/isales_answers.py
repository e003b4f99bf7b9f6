"""What iSales answers: its codes and texts in both languages, and the refusals that carry them."""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]
Text = tuple[str, str]
"""A text in English and in Chinese."""

SUCCESS: Final = "0200000"
EMPTY: Final = "02000001"
INVALID_CHARACTERS: Final = "02000002"
TOO_LONG: Final = "02000003"
BAD_LENGTH: Final = "02000005"
WRONG_TYPE: Final = "02000006"
WRONG_VALUE: Final = "02000007"
NOT_READABLE: Final = "02000008"
NOT_TOGETHER: Final = "02000010"
BAD_PARAMETER: Final = "0200001"
NO_CAMPAIGN: Final = "0200007"
STATE_REFUSES: Final = "0200019"
NO_DATA: Final = "0200033"

CODES: Final[dict[str, Text]] = {
    SUCCESS: ("Operation succeeded.", "操作成功。"),
    BAD_PARAMETER: ("Parameter error.", "参数异常。"),
    EMPTY: ("A parameter is empty.", "参数为空。"),
    INVALID_CHARACTERS: ("A parameter contains invalid characters.", "参数包含非法字符。"),
    TOO_LONG: ("A parameter is longer than the maximum.", "参数超过最大长度。"),
    "02000004": ("A parameter is shorter than the minimum.", "参数小于最小长度。"),
    BAD_LENGTH: ("The length of a parameter is not in the range.", "参数长度不在范围内。"),
    WRONG_TYPE: ("The type of a parameter is wrong.", "参数类型错误。"),
    WRONG_VALUE: ("The value of a parameter is wrong.", "参数取值错误。"),
    NOT_READABLE: ("Parameter conversion error.", "参数转换异常。"),
    "02000009": ("Wrong combination of parameters.", "参数组合错误。"),
    NOT_TOGETHER: ("hour and minute must be set together.", "hour和minute必须同时设置。"),
    "02000011": ("Too many parameters.", "参数过多。"),
    "0200006": ("Database operation error.", "数据库操作异常。"),
    NO_CAMPAIGN: ("The outbound campaign does not exist.", "外呼活动不存在。"),
    STATE_REFUSES: (
        "Numbers cannot be added in the current state of the campaign.",
        "外呼活动当前状态不允许添加号码。",
    ),
    "0200020": ("The campaign has more than 200,000 numbers.", "外呼活动号码数超过200000。"),
    "0200022": ("The interface is called too frequently.", "接口调用过于频繁。"),
    NO_DATA: ("The data does not exist.", "数据不存在。"),
}
"""Code -> text; the contract's list, as far as the calls of the sandbox can meet it."""

QUEUED: Final[Text] = (
    "Exporting data... View details in Import Result.",
    "正在导出数据，详情请查看导入结果。",
)
"""What the vendor says of an import that was queued: "exporting", although it imports."""


class RefusalError(Exception):
    """A call is refused with a code; `detail` names the parameter."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail


def in_language(text: Text, locale: str | None) -> str:
    """Choose the text for a `locale` header: Chinese unless it says `en_US`."""
    return text[0] if locale == "en_US" else text[1]


def answer(locale: str | None, text: Text = CODES[SUCCESS], **fields: Any) -> Json:
    """Answer a call that succeeded: code and text twice, and what the call returns."""
    described = in_language(text, locale)
    return {
        "returnCode": SUCCESS,
        **fields,
        "resultCode": SUCCESS,
        "resultDesc": described,
        "returnDesc": described,
    }


def refusal(error: RefusalError, locale: str | None, *, short: bool) -> Json:
    """Answer a call that is refused; `short` is the sample of a sister call, with one code and one text."""
    described = in_language(CODES.get(error.code, ("Error.", "错误。")), locale)
    if error.detail:
        described = f"{described} {error.detail}"
    if short:
        return {"resultCode": error.code, "description": described}
    return {
        "resultCode": error.code,
        "returnCode": error.code,
        "resultDesc": described,
        "returnDesc": described,
    }
