"""The exchange's refusals, which carry Binance's numbers, in; OKX's code and words for the same out."""

from engine.venue.orders import Refusal


class Wrong(Exception):
    """The venue's refusal: a code and a sentence, and the HTTP status that it comes with."""

    def __init__(self, code: str, words: str, status: int = 200) -> None:
        super().__init__(code, words)
        self.code, self.words, self.status = code, words, status


WORDS = {
    "50013": "Systems are busy. Please try again later.",
    "50014": "Parameter can not be empty.",
    "51000": "Parameter error",
    "51001": "Instrument ID, Instrument ID code, or Spread ID doesn't exist.",
    "51006": "Order price is not within the price limit.",
    "51008": "Order failed. Insufficient USDT margin in account",
    "51016": "Client order ID already exists.",
    "51020": "Your order should meet or exceed the minimum order amount.",
    "51065": "algoClOrdId already exists.",
    "51121": "Order quantity must be a multiple of the lot size.",
    "51137": "The highest price limit for buy orders is exceeded.",
    "51138": "The lowest price limit for sell orders is exceeded.",
    "51169": "Order failed because you don't have any positions in this direction to reduce or close.",
    "51174": "The number of pending orders reached the upper limit.",
    "51202": "Market order amount exceeds the maximum amount.",
    "51257": "Trailing order callback rate error.",
    "51258": "Trailing order placement failed. Trigger price of a sell order must be higher than the last price.",
    "51259": "Trailing order placement failed. Trigger price of a buy order must be lower than the last price.",
    "51261": "The number of pending stop orders reached the upper limit.",
    "51277": "TP trigger price can not be higher than the last price",
    "51278": "SL trigger price can not be lower than the last price",
    "51279": "TP trigger price can not be lower than the last price",
    "51280": "SL trigger price can not be higher than the last price",
    "51400": "Cancellation failed as the order has been filled, canceled or does not exist.",
    "51503": "Your order has already been filled or canceled.",
    "51603": "Order does not exist",
    "59102": "Leverage exceeds the maximum limit. Please lower the leverage.",
}
CODES = {
    -1008: "50013",
    -1102: "50014",
    -1111: "51121",
    -1121: "51001",
    -2007: "51257",
    -2011: "51400",
    -2013: "51603",
    -2019: "51008",
    -2022: "51169",
    -2025: "51174",
    -4003: "51020",
    -4004: "51020",
    -4005: "51202",
    -4016: "51137",
    -4023: "51121",
    -4024: "51138",
    -4028: "59102",
    -4045: "51261",
    -4116: "51016",
    -4131: "51006",
    -4164: "51020",
}
# By kind of conditional order and whether it buys.
WOULD_TRIGGER = {
    ("STOP", True): "51278",
    ("STOP", False): "51280",
    ("TAKE_PROFIT", True): "51277",
    ("TAKE_PROFIT", False): "51279",
    ("TRAILING_STOP", True): "51259",
    ("TRAILING_STOP", False): "51258",
}


def wrong(refusal: Refusal) -> Wrong:
    code = CODES.get(refusal.code, "51000")
    return Wrong(code, WORDS[code])


def wrong_conditional(refusal: Refusal, kind: str, buys: bool) -> Wrong:
    if refusal.code == -2021:
        code = WOULD_TRIGGER[(kind.removesuffix("_MARKET"), buys)]
        return Wrong(code, WORDS[code])
    if refusal.code == -4116:
        return Wrong("51065", WORDS["51065"])
    return wrong(refusal)
