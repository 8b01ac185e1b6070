"""Texts and members that are secrets, and such as only look near.

Every value is made up, and put together when the tests run, so that no scanner of this
repository takes one for real.
"""

from __future__ import annotations

import base64
import json
import random

from secret_shapes import SHAPES, random_text, shaped

_LETTERS = "aB3dE5gH7jK9mN1pQ4sT6vW8xY2zC0fR"
_HEX = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
_CAPITALS = "Q7W2E9R4T6Y1U8I3O5PA"


def letters(count: int) -> str:
    return (_LETTERS * 8)[:count]


def digits(count: int) -> str:
    return (_HEX * 8)[:count]


def jwt() -> str:
    parts = ('{"alg":"HS256","typ":"JWT"}', '{"sub":"1234567890","name":"Ann"}', letters(32))
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


def credentials() -> dict[str, str]:
    """Credentials in the formats of well-known services, by the service."""
    found = {
        "jwt": jwt(),
        "base64 of a jwt": base64.b64encode(jwt().encode()).decode(),
        "bearer": "Bea" + "rer " + letters(24),
        "bearer, odd case": "bEA" + "rER  " + letters(24),
        "age": "AGE-SECRET" + "-KEY-1" + _CAPITALS * 2,
        "anthropic": "sk-" + "ant-api03-" + letters(40),
        "aws": "AK" + "IA" + _CAPITALS[:16],
        "aws session": "AS" + "IA" + _CAPITALS[:16],
        "digitalocean": "dop" + "_v1_" + digits(64),
        "discord": "https://discord" + ".com/api/web" + "hooks/123456789012345678/" + letters(60),
        "gitlab": "gl" + "pat-" + letters(20),
        "google": "AI" + "za" + letters(35),
        "google client": "GOC" + "SPX-" + letters(28),
        "google access": "ya" + "29." + letters(60),
        "hugging face": "h" + "f_" + letters(34),
        "mailchimp": digits(32) + "-us" + "12",
        "mailgun": "ke" + "y-" + digits(32),
        "npm": "np" + "m_" + letters(36),
        "openai": "s" + "k-" + letters(48),
        "openai project": "s" + "k-pro" + "j-" + letters(48),
        "pem": "-----BEGIN RSA PRIV" + "ATE KEY-----\n" + letters(64),
        "pem, new": "-----BEGIN PRIV" + "ATE KEY-----\n" + letters(64),
        "pgp": "-----BEGIN PGP PRIV" + "ATE KEY BLOCK-----\n" + letters(64),
        "pypi": "py" + "pi-AgEIcHlwaS5vcmc" + letters(60),
        "sendgrid": "S" + "G." + letters(22) + "." + letters(43),
        "shopify": "shp" + "at_" + digits(32),
        "slack bot": "xo" + "xb-" + "123456789012-" + letters(24),
        "slack app": "xa" + "pp-1-A0" + letters(40),
        "slack hook": "https://hooks.slack" + ".com/services/T0" + letters(8) + "/B0" + letters(20),
        "square": "EA" + "AAE" + letters(59),
        "square application": "sq" + "0atp-" + letters(22),
        "stripe": "sk" + "_live_" + letters(24),
        "stripe, restricted": "rk" + "_live_" + letters(24),
        "stripe hook": "wh" + "sec_" + letters(32),
        "telegram": "123456789:A" + "A" + letters(33),
        "twilio": "S" + "K" + digits(32),
        "url": "postgresql://anna:" + "hunter2" + "@db.example/events",
        "url without a user": "redis://:" + "hunter2" + "@cache.example",
    }
    for kind in "pousr":
        found[f"github {kind}"] = f"gh{kind}" + "_" + letters(36)
    found["github fine-grained"] = "github" + "_pat_" + letters(22) + "_" + letters(59)
    for service, shapes in SHAPES.items():
        for number, shape in enumerate(shapes):
            found[f"{service} {number}"] = shaped(shape, random.Random(shape))
    return found


OTHER_SCRIPTS = [
    *("كلمة المرور", "كلمة_السر", "الرقم السري", "رمز الدخول", "رمز المرور", "باسورد", "التوكن"),
    *("كَلِمَة المُرور", "كلمـــة المرور", "كلمه المرور", "گذرواژه", "رمز عبور"),
    *("پاس ورڈ", "پاسورڈ", "خفیہ کوڈ", "پن نمبر", "ٹوکن", "خفیہ", "پن"),
    *(
        "비밀번호",
        "패스워드",
        "암호",
        "비번",
        "핀번호",
        "핀 코드",
        "토큰",
        "비밀",
        "접속 코드",
        "핀",
    ),
    *("पासवर्ड", "पास वर्ड", "कूटशब्द", "गुप्त कोड", "पिन नंबर", "टोकन", "पासकोड", "पिन", "गुप्त"),
    *("পাসওয়ার্ড", "পাস ওয়ার্ড", "গোপন কোড", "পিন নম্বর", "টোকেন", "পাসকোড", "পিন"),
    *("పాస్‌వర్డ్", "పాస్వర్డ్", "పాస్ వర్డ్", "రహస్య కోడ్", "పిన్ నంబర్", "టోకెన్", "సంకేతపదం", "పిన్"),
    *("கடவுச்சொல்", "கடவுச் சொல்", "பாஸ்வேர்ட்", "ரகசிய குறியீடு", "பின் எண்", "டோக்கன்", "பின்"),
    *("סיסמה", "รหัสผ่าน", "κωδικός πρόσβασης", "ΚΩΔΙΚΟΣ ΠΡΟΣΒΑΣΗΣ", "ПАРОЛЬ", "Токен", "пин"),
]
"""Names whose text is a secret, in scripts other than Latin."""

NAMES = [
    *OTHER_SCRIPTS,
    *("password", "Password", "passWord", "pass-word", "pass word", "PASSWORD", "userPassword"),
    *(
        "db_password_prod",
        "passwd",
        "passphrase",
        "ｐａｓｓｗｏｒｄ",
        "pa\u0301ssword",
        "pass\u200bword",
    ),
    *("Passwort", "WLAN-Passwort", "Kennwort", "Geheimzahl", "Geheimnis", "Zugangscode"),
    *("contraseña", "CONTRASEÑA", "contrasena", "contrasen\u0303a", "clave", "clave_secreta"),
    *("mot_de_passe", "motDePasse", "mot de passe", "Mot-de-passe", "senha", "palavra-passe"),
    *("wachtwoord", "hasło", "haslo", "пароль", "Пароль", "密码", "密碼", "口令", "パスワード"),
    *("parola", "parola chiave", "şifre", "lösenord", "adgangskode", "salasana", "heslo", "jelszó"),
    *("pin", "PIN", "pinCode", "PIN-Code", "pin_number", "userPin", "terminal.pin", "pin2"),
    *("puk", "pw", "pass", "cvv", "otp", "mật khẩu"),
    *("token", "accessToken", "secret", "client_secret", "API-Key", "apikeys", "privateKey"),
    *("authorization", "credential", "credentials", "pwd", "tokens"),
]
"""Names whose text is a secret."""

OTHER_NAMES = [
    *("pineapple", "Pinot Gris", "pinned", "spin", "shipping", "pinboard", "pin_color", "topping"),
    *("tokenExpiry", "tokenExpiresIn", "tokenCount", "coffee_system_token_expiry"),
    *("secretary", "passport_stamp", "dayPass", "compassOrder", "Geheimnis-Bohne", "keyboard"),
    *("monkey", "enclave", "conclave", "desenhar", "parolaio", "Schlüssel", "author", "name"),
    *("passenger", "key", "id", "code", "pwdless", "opinion"),
]
"""Names that only look near one."""

ASSIGNED = [
    *("password=latte42", "password: grinder-42", "Wifi\npassword: grinder-42", "PASSWORD = x1"),
    *("passwd=hunter2&user=ann", "the passphrase: correct-horse", "apiKey: k4711xyz", "token=abc"),
    *('"token": "abc"', "'secret': 'abc'", "client_secret => abc", "https://x.example/?token=abc"),
    *("Passwort: geheim123", "contraseña=abc", "mot de passe : soleil42", "пароль: лето2024"),
    *("PIN: 4711", "pin=4711", "userPin=4711", "{'pin': '4711'", "clave: sol2024", "密码:abc123"),
    *(
        '{"password": "hunter2", ',
        '{"users":[{"password":"hunter2"}',
        '{\\"password\\": \\"hunter2\\"',
    ),
    *('{"pass\\u0077ord": "hunter2", ', "{“password”: “hunter2”", "password：hunter2"),
    *('{"password":"first","password":""}', '[{"pin": "4711"},', '{"a": {"token" : "abc"}'),
]
"""Text with a secret in it, whatever it is called."""

HARMLESS = [
    *(
        "",
        "Oat",
        "milk_1733022000000",
        "#6f4e37",
        "2026-01-01T00:00:00Z",
        "Anna",
        "ÄÖÜ ☕",
        "🫘" * 40,
    ),
    *("7f9c2ba4-e88f-427d-9f4c-1f0a2b3c4d5e", _HEX, _HEX * 2, "ORDER-2026-000123-A7F3K9"),
    *("The bearer brings cups", "2 drink tokens: Latte", "Token: 2 per guest", "Password: ***"),
    *(
        "password=",
        "password: ",
        "token={token}",
        "pin: ",
        "Your code is {pin}",
        "secret: <secret>",
    ),
    *('{"password": null, "pin": 4711, "token": true', '{"password":""}', '{"token":"***"}'),
    *("https://example.org:8080/a@b", "https://example.org/?page=2", "mailto:ann@example.org"),
    *("SG. means sparkling", "eyJ is how they begin", "eyJ0.a.b", "ya29. is a prefix", "AKIA"),
    *("ghp_short", "sk-learn and desk-lamps", "risk-based-approach-for-the-whole-of-it"),
    *("Pineapple: 40 g", "Shipping: 4711", "spin: 4711", "a=b&c=d", "Kaffee: stark", "1:2:3"),
    *("http://user:***@host", "https://user:<password>@host", "Geheimnis-Bohne: 12", "x" * 300),
    *("[not json", "{neither", "[1,2", "-----BEGIN CERTIFICATE-----", "tokens sold: 40"),
    *("milk_3", "oat-milk-barista-edition-2026", "live_music_and_coffee_at_the_main_stage_2026"),
    *("test_run_of_the_second_grinder_before_opening", "secret_ingredient_of_the_house_blend"),
    *("pat. pending", "Pattern: dots", "s.oliver mugs", "A3-poster: 2", "A3-300 g", "EAA members"),
    *("API-2 and API-3", "sm_pat_cups", "dp. 12 bar", "sl. 2 spoons", "AC/DC|AB/CD", "100%|50%"),
    *("glass-bottles-with-long-handles-2026", "Curl: 2 kg", "curl the milk -u", "kind: secret"),
    *("Basic ingredients for everybody", "Authorization: by the organisers", "v1.0-beta"),
    *("access-control-for-helpers-2026", "ACCADEMIA DEL CAFFE", "CAPPUCCINO", "ABIA", "YC-2026"),
    *("ORDER-20260101-000000000123-ABCDEFGH", "RE-2026/000123", "DE89370400440532013000", "aio_1"),
    *(
        "pk.",
        "sk. 40 cups",
        "t1. and t2.",
        "ico-nic cups",
        "EZ pour-over",
        "ntn_",
        "tfp_bar",
        "xai-",
    ),
    *("https://cdn.example.org/img/2026/oat_milk-1024x768@2x.png?v=1733022000#top",),
    *(f"https://cdn.example.org/{_HEX}{_HEX[:8]}.jpg", f"sha256:{_HEX * 2}", f"md5-{_HEX}"),
    *(
        "4b1d" + _HEX,
        "4b1d" + (_HEX * 2)[:36],
        f"{_HEX}-usa",
        "ed6f4e37-4b1d-4f9d-8f4c-1f0a2b3c4d5e",
    ),
    *("rgba(111, 78, 55, 0.5)", "hsl(26 34% 33%)", "Grafana dashboard", "Vault of beans: 7"),
]
"""Text without a secret."""


def documents() -> list[tuple[str, str, list[str]]]:
    """A key, its raw text, and the paths of what is taken out."""
    token = jwt()
    return [
        ("users", '[{"name":"Ann","password":"x"},{"name":"Bo","pass-word":"y"}]',
         ["[0].password", "[1].pass-word"]),
        ("deep", '{"a":{"b":[{"c":{"apiKey":"k","keep":1}}]}}', ["a.b[0].c.apiKey"]),
        ("inner", json.dumps({"note": "ok", "log": f"saw {token}"}), ["log"]),
        ("list", json.dumps(["keep", token, "keep too"]), ["[1]"]),
        ("nested", json.dumps({"state": json.dumps({"a": {"token": "abc"}}), "b": 2}), ["state"]),
        ("broken", json.dumps({"state": '{"auth": {"token": "abc"}, ', "keep": 2}), ["state"]),
        ("broken list", json.dumps(['[{"mot_de_passe": "soleil"}', "keep"]), ["[0]"]),
        ("tokens", '{"sms":"A1b2C3d4E5f6G7h8","label":"front","id":"sms_1733022000000"}', ["sms"]),
        ("names", json.dumps({token: 1, "keep": 3}), ["<name>"]),
        ("inner names", json.dumps({"a": [{token: 1, "keep": 3}]}), ["a[0].<name>"]),
        ("names assign", json.dumps({"password=hunter2": True, "keep": 3}), ["<name>"]),
        ("lists", '{"credentials":{"list":["A1b2C3d4E5f6G7h8","short"]}}', ["credentials.list[0]"]),
        ("proto", '{"__proto__":{"secret":"s","keep":4}}', ["__proto__.secret"]),
        ("masked", '[{"name":"Ann","password":"********","token":""}]', []),
        ("flags", '{"passwordRequired":true,"tokenCount":3,"secret":null,"pin":4711}', []),
        ("items", '{"milk":{"Geheimnis-Bohne":{"id":"milk_1733022000000","unit":"L"}}}', []),
        ("ids", '{"drink_token":{"id":"extras_1733022000000","enabled":true}}', []),
    ]  # fmt: skip


def pictures() -> list[str]:
    """Pictures as pages hold them: much of any text is in Base64 by chance."""
    chance = random.Random("pictures")
    noise = [random_text("b", 100_000, chance) for _ in range(8)]
    dark = ["".join(chance.choices(("AAAA", "AAEA", "EAAA", "/EAA", "AQVN"), k=20_000))] * 2
    return [f"data:image/png;base64,{content}==" for content in noise + dark]
