"""Parameters of authenticated requests go in; balances, positions, settings and listen keys come out as JSON bodies."""

from decimal import Decimal
from typing import Protocol

from engine.venue.accounts import Resting
from engine.venue.contract import Contract
from engine.venue.exchange import Exchange
from engine.venue.gate import Params, flag, whole
from engine.venue.news import LeverageNews
from engine.venue.orders import Refusal, missing
from engine.venue.reports import Body, money, plain

NOTIONAL_CAP = "10000000"


class ListenKeys(Protocol):
    """Who gives out keys for private streams, and sends on them."""

    def open_key(self) -> str: ...

    def extend_key(self) -> bool: ...

    def close_key(self) -> None: ...


class Holdings:
    """The account as REST shows it, and its settings."""

    def __init__(self, exchange: Exchange, keys: ListenKeys) -> None:
        self.exchange, self.keys = exchange, keys

    def account(self, params: Params) -> Body:
        exchange, margin = self.exchange, self.exchange.margin()
        totals = {
            "InitialMargin": margin.initial + margin.isolated,
            "MaintMargin": margin.maintenance,
            "WalletBalance": margin.wallet,
            "UnrealizedProfit": margin.unrealised,
            "MarginBalance": margin.balance,
            "PositionInitialMargin": margin.positions_initial + margin.isolated,
            "OpenOrderInitialMargin": margin.initial - margin.positions_initial,
            "CrossWalletBalance": margin.wallet - margin.isolated,
            "CrossUnPnl": margin.unrealised - margin.isolated_gain,
        }
        asset = {name[0].lower() + name[1:]: money(value) for name, value in totals.items()}
        asset["crossUnPnl"] = money(margin.unrealised - margin.isolated_gain)
        resting = exchange.resting()
        return {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": False,
            "canWithdraw": False,
            "multiAssetsMargin": False,
            "updateTime": 0,
            **{f"total{name}": money(value) for name, value in totals.items()},
            "availableBalance": money(margin.available),
            "maxWithdrawAmount": money(margin.available),
            "assets": [
                {
                    "asset": "USDT",
                    **asset,
                    "unrealizedProfit": money(margin.unrealised),
                    "availableBalance": money(margin.available),
                    "maxWithdrawAmount": money(margin.available),
                    "marginAvailable": True,
                    "updateTime": exchange.now_ms,
                }
            ],
            "positions": [self._position(symbol, contract, resting[symbol]) for symbol, contract in exchange.contracts.items()],
        }

    def balance(self, params: Params) -> list[Body]:
        margin = self.exchange.margin()
        return [
            {
                "accountAlias": "simulated",
                "asset": "USDT",
                "balance": money(margin.wallet),
                "crossWalletBalance": money(margin.wallet - margin.isolated),
                "crossUnPnl": money(margin.unrealised - margin.isolated_gain),
                "availableBalance": money(margin.available),
                "maxWithdrawAmount": money(margin.available),
                "marginAvailable": True,
                "updateTime": self.exchange.now_ms,
            }
        ]

    def position_risk(self, params: Params, everything: bool) -> list[Body]:
        """v3 leaves out what is flat and has no orders, and the leverage; v2 (`everything`) has both."""
        rows, resting = [], self.exchange.resting()
        for symbol, contract in self.exchange.contracts.items():
            held, orders = self.exchange.account.position(symbol), resting[symbol]
            if not self._wanted(params, symbol) or not (everything or held.quantity or orders.bids or orders.asks):
                continue
            row = self._position(symbol, contract, orders)
            if everything:
                row["leverage"] = str(self.exchange.account.leverage_of(symbol))
                row |= {
                    "marginType": self.exchange.account.mode_of(symbol),
                    "isAutoAddMargin": "false",
                    "maxNotionalValue": NOTIONAL_CAP,
                }
            rows.append(row)
        return rows

    def _position(self, symbol: str, contract: Contract, orders: Resting) -> Body:
        account, mark = self.exchange.account, contract.mark()
        held, listing = account.position(symbol), contract.listing
        value = held.notional(mark)
        initial = abs(value) / account.leverage_of(symbol)
        exposure = max(abs(value + orders.bids), abs(value - orders.asks), abs(value)) / account.leverage_of(symbol)
        liquidation = account.liquidation_price(symbol, self.exchange.marks(), self.exchange.rates())
        return {
            "symbol": symbol,
            "positionSide": "BOTH",
            "positionAmt": format(held.quantity.quantize(listing.step), "f") if held.quantity else "0",
            "entryPrice": plain(held.entry),
            "breakEvenPrice": plain(held.entry),
            "markPrice": format(mark, ".8f"),
            "unRealizedProfit": money(held.unrealised(mark)),
            "unrealizedProfit": money(held.unrealised(mark)),
            "liquidationPrice": format(liquidation, ".8f") if liquidation else "0",
            "isolatedMargin": money(held.margin + held.unrealised(mark)) if held.margin else "0",
            "isolatedWallet": money(held.margin) if held.margin else "0",
            "notional": money(value),
            "marginAsset": "USDT",
            "initialMargin": money(initial.quantize(Decimal("1e-8"))),
            "maintMargin": money((abs(value) * listing.maintenance_rate).quantize(Decimal("1e-8"))),
            "positionInitialMargin": money(initial.quantize(Decimal("1e-8"))),
            "openOrderInitialMargin": money((exposure - initial).quantize(Decimal("1e-8"))),
            "adl": 2 if held.quantity else 0,
            "bidNotional": plain(orders.bids),
            "askNotional": plain(orders.asks),
            "updateTime": held.updated_ms,
        }

    def leverage_bracket(self, params: Params) -> list[Body]:
        return [
            {
                "symbol": symbol,
                "notionalCoef": 1.0,
                "brackets": [
                    {
                        "bracket": 1,
                        "initialLeverage": contract.listing.max_leverage,
                        "notionalCap": int(NOTIONAL_CAP),
                        "notionalFloor": 0,
                        "maintMarginRatio": float(contract.listing.maintenance_rate),
                        "cum": 0.0,
                    }
                ],
            }
            for symbol, contract in self.exchange.contracts.items()
            if self._wanted(params, symbol)
        ]

    def symbol_config(self, params: Params) -> list[Body]:
        return [
            {
                "symbol": symbol,
                "marginType": "ISOLATED" if symbol in self.exchange.account.isolated else "CROSSED",
                "isAutoAddMargin": False,
                "leverage": self.exchange.account.leverage_of(symbol),
                "maxNotionalValue": NOTIONAL_CAP,
            }
            for symbol in self.exchange.contracts
            if self._wanted(params, symbol)
        ]

    def account_config(self, params: Params) -> Body:
        return {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": False,
            "canWithdraw": False,
            "dualSidePosition": False,
            "multiAssetsMargin": False,
            "tradeGroupId": -1,
            "updateTime": 0,
        }

    def key_permissions(self, params: Params) -> Body:
        """Of the spot host, where the real venue is asked."""
        return {
            "ipRestrict": False,
            "createTime": 0,
            "enableReading": True,
            "enableFutures": True,
            "enableWithdrawals": self.exchange.faults.withdrawals,
            "enableInternalTransfer": False,
            "enableMargin": False,
            "enableSpotAndMarginTrading": False,
            "enableVanillaOptions": False,
            "permitsUniversalTransfer": False,
        }

    def commission_rate(self, params: Params) -> Body:
        listing = self.exchange.contract(params.get("symbol", "")).listing
        return {
            "symbol": listing.symbol,
            "makerCommissionRate": plain(listing.maker_rate),
            "takerCommissionRate": plain(listing.taker_rate),
        }

    def income(self, params: Params) -> list[Body]:
        kind, start, end = params.get("incomeType", ""), whole(params, "startTime") or 0, whole(params, "endTime")
        rows = [
            {
                "symbol": row.symbol,
                "incomeType": row.kind,
                "income": money(row.amount),
                "asset": "USDT",
                "info": row.kind,
                "time": row.at_ms,
                "tranId": row.id,
                "tradeId": row.trade_id,
            }
            for row in self.exchange.income
            if self._wanted(params, row.symbol) and kind in ("", row.kind)
            if row.at_ms >= start and (end is None or row.at_ms <= end)
        ]
        limit = whole(params, "limit") or 100
        return rows[:limit] if start else rows[-limit:]

    def set_leverage(self, params: Params) -> Body:
        symbol, leverage = self._symbol(params), whole(params, "leverage")
        if leverage is None:
            raise missing("leverage")
        exchange = self.exchange
        if not 1 <= leverage <= exchange.contracts[symbol].listing.max_leverage:
            raise Refusal(-4028, f"Leverage {leverage} is not valid.")
        before = exchange.account.leverage_of(symbol)
        if leverage < before and exchange.account.position(symbol).margin:
            raise Refusal(-4161, "Leverage reduction is not supported in Isolated Margin Mode with open positions.")
        exchange.account.leverage[symbol] = leverage
        margin = exchange.margin()
        if leverage < before and margin.cross < margin.initial:
            exchange.account.leverage[symbol] = before
            raise Refusal(-2019, "Margin is insufficient.")
        if leverage != before:
            exchange.tell(LeverageNews(symbol, leverage, exchange.now_ms))
        return {"leverage": leverage, "maxNotionalValue": NOTIONAL_CAP, "symbol": symbol}

    def set_margin_type(self, params: Params) -> Body:
        symbol, exchange = self._symbol(params), self.exchange
        if params.get("marginType") not in ("CROSSED", "ISOLATED"):
            raise missing("marginType")
        isolated = params["marginType"] == "ISOLATED"
        if isolated == (symbol in exchange.account.isolated):
            raise Refusal(-4046, "No need to change margin type.")
        if exchange.has_orders(symbol):
            raise Refusal(-4047, "Margin type cannot be changed if there exists open orders.")
        if exchange.position_steps(symbol):
            raise Refusal(-4048, "Margin type cannot be changed if there exists position.")
        exchange.account.isolate(symbol, isolated)
        return {"code": 200, "msg": "success"}

    def position_mode(self, params: Params) -> Body:
        return {"dualSidePosition": False}

    def set_position_mode(self, params: Params) -> Body:
        if not params.get("dualSidePosition"):
            raise missing("dualSidePosition")
        if flag(params, "dualSidePosition"):
            raise Refusal(-4084, "Method is not allowed currently: the simulated venue has one-way mode only.")
        raise Refusal(-4059, "No need to change position side.")

    # --- listen keys -----------------------------------------------------------------------------------------------

    def open_listen_key(self, params: Params) -> Body:
        return {"listenKey": self.keys.open_key()}

    def extend_listen_key(self, params: Params) -> Body:
        if not self.keys.extend_key():
            raise Refusal(-1125, "This listenKey does not exist.")
        return {"listenKey": self.keys.open_key()}

    def close_listen_key(self, params: Params) -> Body:
        self.keys.close_key()
        return {}

    def _symbol(self, params: Params) -> str:
        return self.exchange.contract(params.get("symbol", "")).listing.symbol

    def _wanted(self, params: Params, symbol: str) -> bool:
        if not params.get("symbol"):
            return True
        return self._symbol(params) == symbol
