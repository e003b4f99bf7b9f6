"""One upload as Ozonetel tells of it."""

from __future__ import annotations

LONG_ID = "1720678529012345678901234"

RECORD = {
    "totalNoUploaded": "6",
    "numbersProcessed": "2",
    "numbersNotProcessed": "4",
    "failedFilePath": "https://b.s3.ap-south-1.amazonaws.com/f.csv?X-Amz-Signature=5ec+re=t",
    "transactionId": LONG_ID,
    "status": "Success",
    "message": "File Successfully uploaded.",
    "startDateTime": "2024-07-11 11:45:29",
    "endDateTime": "2024-07-11 11:45:30",
}
