"""What gives a secret away: names, formats and limits, as data.

The one source of these rules. ``secrets`` applies them on the server; for the browser
``tools/web_data.py`` writes them to ``web/secret-rules.js``, where ``secrets.js`` applies
them. So every expression here means the same in Python (``re.ASCII``) and in JavaScript, and
takes time that grows with the text and no faster: what repeats has a fixed length or is not
followed by anything that could make it try again.

Words are written in lower case and with ``_`` where people may put a separator or none:
``api_key`` is also ``apiKey``, ``API-Key`` and ``api key``. They are looked for in text without
accents and look-alikes, and so are brought into that form here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from expresso_persist.model.plain_text import folded

__all__ = [
    "ASSIGNMENTS",
    "BASE64_JWT",
    "CONTAINED",
    "EXACT",
    "FINAL",
    "FORMATS",
    "FORMAT_MINIMUM",
    "JWT",
    "KEYS",
    "LITERALS",
    "OPAQUE",
    "PLACEHOLDER_MARKS",
    "QUALIFIERS",
    "SHORT",
    "TEMPLATE_MARKS",
    "URL_PASSWORD",
    "USER_PASSWORD",
    "Assignment",
    "Format",
]

KEYS: tuple[str, ...] = (
    "access_token",
    "auth_token",
    "coffee_auth_token",
    "coffee_refresh_token",
    "coffee_system_refresh_token",
    "coffee_system_token",
    "jwt_token",
    "refreshToken",
    "refresh_token",
    "token",
)
"""Keys of localStorage that hold a sign-in, whatever their value looks like."""


def _words(*words: str) -> tuple[str, ...]:
    """As they are looked for; what a letter passes for may depend on its case."""
    plain = [form for word in words for form in (folded(word), folded(word.upper()).lower())]
    return tuple(dict.fromkeys(plain))


CONTAINED: tuple[str, ...] = _words(
    "pass_word", "passwd", "pass_phrase", "pass_code",
    "pass_wort", "kenn_wort", "zugangs_code", "zugangs_schlussel", "geheim_zahl", "geheim_nummer",
    "contrasena", "contrasenya", "codigo_secreto", "clave_secreta", "clave_privada", "clave_api",
    "mot_de_passe", "code_secret", "cle_secrete", "cle_privee", "cle_api",
    "palavra_passe", "chave_secreta", "chave_privada", "chave_api",
    "parola_chiave", "parola_d_ordine", "chiave_segreta", "chiave_privata", "chiave_api",
    "wacht_woord", "toegangs_code", "losen_ord", "adgangs_kode", "adgangs_ord", "sala_sana",
    "jelszo", "lozinka", "mat_khau", "kata_sandi",
    "пароль", "парола", "лозинка",  # Russian, Ukrainian, Bulgarian, Serbian
    "密码", "密碼", "口令",  # Chinese
    "暗証番号", "パスワード", "パスコード", "合言葉",  # Japanese
    "비밀_번호", "비밀_코드", "비밀_키", "패스_워드", "패스_코드", "핀_번호", "핀_코드",  # Korean
    "암호", "접속_코드", "접근_코드", "액세스_코드", "인증_코드", "보안_코드",
    "كلمة_المرور", "كلمة_مرور", "كلمة_السر", "كلمة_سر", "كلمات_المرور",  # Arabic
    "الرقم_السري", "رقم_سري", "الرمز_السري", "رمز_سري", "رمز_المرور", "رمز_مرور", "رمز_الدخول",
    "رمز_الوصول", "رمز_التحقق", "المفتاح_السري", "مفتاح_سري", "باسورد", "باسوورد", "باس_وورد",
    "رقم_التعريف_الشخصي", "بن_كود",
    "گذرواژه", "گذر_واژه", "رمز_عبور", "کلمه_عبور", "پسورد", "پسوورد",  # Persian
    "پاس_ورڈ", "پاس_کوڈ", "خفیہ_کوڈ", "خفیہ_لفظ", "خفیہ_نمبر", "خفیہ_کلید", "پن_کوڈ",  # Urdu
    "پن_نمبر", "رسائی_کوڈ",
    "पास_वर्ड", "पास_कोड", "पास_फ़्रेज़", "कूट_शब्द", "गुप्त_कोड", "गुप्त_शब्द", "गुप्त_संख्या",  # Hindi
    "गुप्त_नंबर", "गुप्त_कुंजी", "पिन_नंबर", "पिन_संख्या", "एक्सेस_कोड", "पहुँच_कोड", "प्रवेश_कोड",
    "পাস_ওয়ার্ড", "পাস_কোড", "গোপন_কোড", "গোপন_শব্দ", "গোপন_নম্বর", "গোপন_সংখ্যা",  # Bengali
    "গোপন_চাবি", "গোপনীয়_কোড", "গুপ্ত_শব্দ", "গুপ্ত_কোড", "পিন_নম্বর", "পিন_নাম্বার",
    "অ্যাক্সেস_কোড", "প্রবেশ_কোড", "সংকেত_শব্দ",
    "పాస్_వర్డ్", "పాస్_కోడ్", "రహస్య_పదం", "సంకేత_పదం", "రహస్య_కోడ్", "రహస్య_సంఖ్య",  # Telugu
    "రహస్య_సంకేతం", "రహస్య_కీ", "పిన్_నంబర్", "పిన్_సంఖ్య", "యాక్సెస్_కోడ్", "ప్రవేశ_కోడ్",
    "கடவுச்_சொல்", "கடவுக்_குறியீடு", "கடவு_எண்", "பாஸ்_வேர்ட்", "பாஸ்_வேர்டு",  # Tamil
    "பாஸ்_வார்ட்", "பாஸ்_கோட்", "ரகசிய_குறியீடு", "ரகசியக்_குறியீடு", "ரகசிய_எண்",
    "ரகசிய_சொல்", "ரகசியச்_சொல்", "பின்_எண்", "பின்_நம்பர்", "அணுகல்_குறியீடு",
    "סיסמה", "קוד_סודי", "סיסמא", "รหัสผ่าน", "κωδικός_πρόσβασης",  # Hebrew, Thai, Greek
)  # fmt: skip
"""A name with one of these anywhere in it is a password's."""

FINAL: tuple[str, ...] = _words(
    "secret", "token", "api_key", "secret_key", "access_key", "auth_key", "account_key",
    "encryption_key", "signing_key", "authorization", "private_key", "credential", "pwd",
    "geheimnis",
    "토큰", "비밀", "시크릿", "توكن", "رمز_مميز", "ٹوکن", "خفیہ", "टोकन", "गुप्त",
    "টোকেন", "গোপন", "టోకెన్", "టోకన్", "రహస్యం", "டோக்கன்", "டோகன்",
    "ரகசியம்", "இரகசியம்",
)  # fmt: skip
"""A name that ends with one of these is a secret's: not ``tokenExpiry``."""

SHORT: tuple[str, ...] = _words(
    "pin", "pin_code", "puk", "pw", "psw", "otp", "totp", "cvv", "cvc", "mdp",
    "clave", "senha", "hasło", "heslo", "geslo", "parola", "şifre", "passord",
    "пин", "пинкод", "пін", "секрет", "токен", "비번", "핀", "سر", "السر", "پن", "راز",
    "पिन", "পিন", "పిన్", "பின்",
)  # fmt: skip
"""Too short to be looked for inside other words: the last word of a name, as in ``userPin``."""

EXACT: tuple[str, ...] = _words("pass")
"""The whole name: people also have a ``dayPass``."""

QUALIFIERS: tuple[str, ...] = (
    "code",
    "hash",
    "no",
    "nr",
    "number",
    "nummer",
    "plain",
    "text",
    "value",
)
"""What may come after a short word: ``pinNumber``."""


@attrs.frozen
class Format:
    """How the credentials of a service look.

    Attributes:
        name: Whose they are.
        hints: Text without capitals, one of which is in each of them.
        pattern: A regular expression for enough of it to be sure.
    """

    name: str
    hints: tuple[str, ...]
    pattern: str


_APART = "(?:^|[^A-Za-z0-9+/_-])"
_ENDS = "(?![A-Za-z0-9+/=_-])"
"""Around letters and digits that a picture in Base64 has by chance."""

FORMATS: tuple[Format, ...] = (
    Format("1Password", ("a3-",),
           r"\bA3-[A-Z0-9]{6}-[A-Z0-9]{6}-?[A-Z0-9]{5}(?:-[A-Z0-9]{5}){3}"),
    Format("1Password", ("ops_eyj",), r"ops_eyJ[A-Za-z0-9+/_-]{32}"),
    Format("Adafruit", ("aio_",), r"\baio_[A-Za-z0-9]{28}"),
    Format("Adobe", ("p8e-",), r"\bp8e-[A-Za-z0-9]{32}"),
    Format("age", ("age-secret-key-",), r"AGE-SECRET-KEY-1[A-Z0-9]{20}"),
    Format("Airtable", ("pat",), r"\bpat[A-Za-z0-9]{14}\.[a-f0-9]{32}"),
    Format("Alibaba", ("ltai",), _APART + r"LTAI[A-Za-z0-9]{16}"),
    Format("Anthropic", ("sk-ant-",), r"sk-ant-[A-Za-z0-9_-]{16}"),
    Format("Artifactory", ("akcp", "cmvmd"), _APART + r"(?:AKCp|cmVmd)[A-Za-z0-9]{59}"),
    Format("Atlassian", ("tt3",), r"AT[ACS]TT3[A-Za-z0-9_=-]{40}"),
    Format("Authress", (".acc",),
           r"\b(?:sc|ext|scauth|authress)_[A-Za-z0-9]{5,30}\.[A-Za-z0-9]{4,6}"
           r"\.acc[_-][A-Za-z0-9-]{10,32}\.[A-Za-z0-9+/_=-]{30}"),
    Format("authorization", ("authorization",),
           r"[Aa][Uu][Tt][Hh][Oo][Rr][Ii][Zz][Aa][Tt][Ii][Oo][Nn][\"']?[ \t]{0,8}[:=]"
           r"[ \t]{0,8}[\"']?(?:[Bb]asic|[Dd]igest|(?:[Aa]pi-?)?(?:[Tt]oken|[Kk]ey))"
           r"[ \t]{1,8}[A-Za-z0-9=~@._+/-]{8}"),
    Format("AWS", ("akia", "asia"), r"(?:AKIA|ASIA)[A-Z0-9]{16}"),
    Format("AWS", ("a3t", "abia", "acca"),
           r"\b(?:A3T[A-Z0-9]|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    Format("AWS Bedrock", ("absk",), _APART + r"ABSK[A-Za-z0-9+/]{109}"),
    Format("AWS Bedrock", ("bedrock-api-key-",), r"bedrock-api-key-[A-Za-z0-9+/=_-]{16}"),
    Format("Azure", ("q~",), r"[0-9]Q~[A-Za-z0-9_~.-]{31}"),
    Format("bearer", ("bearer",),
           r"\b[Bb][Ee][Aa][Rr][Ee][Rr](?:[ \t\r\n]|%20){1,8}[A-Za-z0-9._~+/=-]{8}"),
    Format("Brevo", ("sib-",), r"\bx(?:key|smtp)sib-[a-f0-9]{40}"),
    Format("ClickHouse", ("4b1d",), r"\b4b1d[A-Za-z0-9]{38}\b"),
    Format("Clojars", ("clojars_",), r"(?:CLOJARS|clojars)_[A-Za-z0-9]{40}"),
    Format("Cloudflare", ("v1.0-",), r"\bv1\.0-[a-f0-9]{24}-[a-f0-9]{64}"),
    Format("curl", ("curl",),
           r"[ \t\r\n](?:-u[= \t]{0,5}|--user[= \t]{1,5})(?:[\"']?"
           r"(?:[^ \t\r\n\"':]{0,64}[\"']?:[\"']?[^ \t\r\n\"'{}$<>*]{3}|[A-Za-z0-9_-]{12,64}:)"
           r"|\"[^\r\n\":]{0,64}:[^\r\n\"{}$<>*][^\r\n\"]{2}"
           r"|'[^\r\n':]{0,64}:[^\r\n'{}$<>*][^\r\n']{2})"),
    Format("curl", ("curl",),
           r"[ \t\r\n](?:-H|--header)[= \t]{0,5}[\"'](?:[Aa]uthorization"
           r"|(?:[Xx]-(?:[A-Za-z]{1,20}-)?)?(?:[Aa][Pp][Ii]-?)?(?:[Kk]ey|[Tt]oken)):[ \t]{0,5}"
           r"[A-Za-z0-9_=~@.+/-]{8}"),
    Format("Databricks", ("dapi",), r"\bdapi[a-f0-9]{32}"),
    Format("Defined Networking", ("dnkey-",), r"dnkey-[A-Za-z0-9=_-]{40}"),
    Format("DigitalOcean", ("_v1_",), r"do[opr]_v1_[A-Fa-f0-9]{32}"),
    Format("Discord", ("/api/webhooks/",), r"discord(?:app)?\.com/api/webhooks/[0-9]{12}"),
    Format("Docker", ("dckr_",), r"dckr_[a-z]{3}_[A-Za-z0-9_-]{20}"),
    Format("Doppler", ("dp.",), r"\bdp\.[a-z]{2,5}\.(?:[a-z0-9_-]{1,35}\.)?[A-Za-z0-9]{30}"),
    Format("Dropbox", ("sl.",), r"\bsl\.(?:u\.)?[A-Za-z0-9=_-]{100}"),
    Format("Dropbox", ("aaaaaaaaaa",),
           _APART + r"[A-Za-z0-9]{11}A{10}[A-Za-z0-9_=-]{43}" + _ENDS),
    Format("Duffel", ("duffel_",), r"duffel_(?:live|test)_[A-Za-z0-9_=-]{20}"),
    Format("Dynatrace", ("dt0",), r"\bdt0[a-z][0-9]{2}\.[A-Za-z0-9]{8,24}\.[A-Za-z0-9]{32}"),
    Format("EasyPost", ("ezak", "eztk"), r"\bEZ[AT]K[A-Za-z0-9]{40}"),
    Format("Facebook", ("eaa",), _APART + r"EAA[A-Z][A-Za-z0-9]{100}"),
    Format("Facebook", ("|", "%"), r"\b[0-9]{15,16}[|%][A-Za-z0-9_-]{27}"),
    Format("Figma", ("figd_",), r"figd_[A-Za-z0-9_-]{20}"),
    Format("Flutterwave", ("flwseck", "flwpubk"),
           r"FLW(?:SEC|PUB)K(?:_TEST)?-[A-Za-z0-9]{12}"),
    Format("Fly.io", ("fo1_", "fm1", "fm2_"), r"\b(?:fo1|fm1[ar]|fm2)_[A-Za-z0-9+/_-]{40}"),
    Format("Frame.io", ("fio-u-",), r"fio-u-[A-Za-z0-9_=-]{32}"),
    Format("GitHub", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"gh[pousr]_[A-Za-z0-9]{16}"),
    Format("GitHub", ("github_pat_",), r"github_pat_[A-Za-z0-9_]{16}"),
    Format("GitLab", ("glpat-", "gldt-", "glrt-", "glrtr-", "glptt-", "glcbt-", "glsoat-", "glft-",
                      "glimt-", "glagent-", "gloas-", "glffct-", "glwt-"),
           r"gl(?:pat|dt|rtr?|ptt|cbt|soat|ft|imt|agent|oas|ffct|wt)-[A-Za-z0-9_-]{16}"),
    Format("GitLab", ("gr1348941",), r"GR1348941[A-Za-z0-9_-]{16}"),
    Format("GitLab", ("_gitlab_session",), r"_gitlab_session=[0-9a-z]{16}"),
    Format("GoCardless", ("live_", "sandbox_"),
           r"\b(?:live|sandbox)_(?=[A-Za-z_=-]{0,39}[0-9])(?=[a-z0-9_=-]{0,39}[A-Z])"
           r"[A-Za-z0-9_=-]{40}" + _ENDS),
    Format("Google", ("aiza",), r"\bAIza[A-Za-z0-9_-]{30}"),
    Format("Google", ("gocspx-",), r"GOCSPX-[A-Za-z0-9_-]{20}"),
    Format("Google", ("ya29.",), r"ya29\.[A-Za-z0-9_-]{20}"),
    Format("Grafana", ("eyjrijoi",), r"eyJrIjoi[A-Za-z0-9+/]{40}"),
    Format("Grafana", ("glc_",), r"\bglc_[A-Za-z0-9+/=_-]{32}"),
    Format("Grafana", ("glsa_",), r"\bglsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}"),
    Format("Groq", ("gsk_",), r"\bgsk_[A-Za-z0-9]{32}"),
    Format("Harness", ("pat.", "sat."),
           r"\b[ps]at\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9]{24}\.[A-Za-z0-9]{20}"),
    Format("HashiCorp", (".atlasv1.",), r"\.atlasv1\.[A-Za-z0-9_=-]{40}"),
    Format("HashiCorp", ("hvs.", "hvb.", "hvr."), r"\bhv[sbr]\.[A-Za-z0-9_-]{24}"),
    Format("HashiCorp", ("s.",), r"\bs\.(?=[A-Za-z]{0,23}[0-9])[A-Za-z0-9]{24}(?![A-Za-z0-9._-])"),
    Format("Heroku", ("hrku-",), r"HRKU-[A-Za-z0-9_-]{20}"),
    Format("HubSpot", ("pat-",), r"\bpat-[a-z]{2}[0-9]-[a-f0-9]{8}-[a-f0-9]{4}-"),
    Format("Hugging Face", ("hf_", "api_org_"), r"\b(?:hf|api_org)_[A-Za-z0-9]{30}"),
    Format("Infracost", ("ico-",), r"\bico-[A-Za-z0-9]{32}"),
    Format("Intra 42", ("s-s4t2",), r"s-s4t2(?:ud|af)-[a-f0-9]{40}"),
    Format("JSON Web Token, with spaces", (".ey",),
           r"\bey[A-Za-z0-9]{17,}\.ey[A-Za-z0-9/\\_-]{17,}\."),
    Format("Kubernetes", ("kind:",),
           r"\bkind:[ \t]{0,8}[\"']?[Ss]ecret[\"']?[ \t]{0,8}[\r\n][^{}]{0,200}?[dD]ata:"),
    Format("Kubernetes", ("kind:",),
           r"[dD]ata:[ \t]{0,8}[\r\n][^{}]{0,400}?\bkind:[ \t]{0,8}[\"']?[Ss]ecret\b"),
    Format("Linear", ("lin_",), r"lin_(?:api|oauth)_[A-Za-z0-9]{32}"),
    Format("Lob", ("live_", "test_"), r"\b(?:live|test)_(?:pub_)?[a-f0-9]{31}"),
    Format("Mailchimp", ("-us",), r"[0-9a-f]{32}-us[0-9]"),
    Format("Mailgun", ("key-",), r"\b(?:pub)?key-[0-9a-f]{32}"),
    Format("Mapbox", ("pk.", "sk.", "tk."), r"\b[pst]k\.[A-Za-z0-9]{50,90}\.[A-Za-z0-9_-]{20}"),
    Format("MaxMind", ("_mmk",), r"[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk\b"),
    Format("New Relic", ("nrak-", "nrjs-", "nrii-", "nriq-", "nraa-", "nral-"),
           r"\bNR(?:A[AKL]|JS|I[IQ])-[A-Za-z0-9-]{19}"),
    Format("Notion", ("ntn_", "secret_"), r"\b(?:ntn|secret)_[A-Za-z0-9]{40}"),
    Format("npm", ("npm_",), r"npm_[A-Za-z0-9]{20}"),
    Format("NuGet", ("<add",),
           r"<add[ \t\r\n]{1,8}[Kk]ey=[\"'](?:[Cc]lear[Tt]ext)?[Pp]assword[\"'][ \t\r\n]{0,8}"
           r"[Vv]alue=[\"'][^\"']{4}"),
    Format("NuGet", ("<add",),
           r"<add[ \t\r\n]{1,8}[Vv]alue=[\"'][^\"']{4,200}[\"'][ \t\r\n]{0,8}"
           r"[Kk]ey=[\"'](?:[Cc]lear[Tt]ext)?[Pp]assword[\"']"),
    Format("Octopus Deploy", ("api-",), r"\bAPI-[A-Z0-9]{26}(?![A-Za-z0-9])"),
    Format("OpenAI", ("sk-",),
           r"\bsk-(?:(?:proj|svcacct|admin|or|lf)-[A-Za-z0-9_-]{16}|[A-Za-z0-9]{20})"),
    Format("OpenShift", ("sha256~",), r"\bsha256~[A-Za-z0-9_-]{43}"),
    Format("Perplexity", ("pplx-",), r"\bpplx-[A-Za-z0-9]{32}"),
    Format("Plaid", ("access-",),
           r"\baccess-(?:sandbox|development|production)-[0-9a-f]{8}-[0-9a-f]{4}-"),
    Format("PlanetScale", ("pscale_",), r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_=.-]{20}"),
    Format("Postman", ("pmak-",), r"PMAK-[A-Fa-f0-9]{24}"),
    Format("Prefect", ("pnu_", "pnb_"), r"\bpn[ub]_[A-Za-z0-9]{36}"),
    Format("private key", ("private key",), r"-----BEGIN[A-Z0-9 _-]{0,100}PRIVATE KEY"),
    Format("Pulumi", ("pul-",), r"\bpul-[a-f0-9]{40}"),
    Format("PyPI", ("pypi-ag",), r"pypi-Ag[A-Za-z0-9_-]{30}"),
    Format("ReadMe", ("rdme_",), r"\brdme_[A-Za-z0-9]{40}"),
    Format("RubyGems", ("rubygems_",), r"rubygems_[a-f0-9]{40}"),
    Format("Scalingo", ("tk-us-",), r"\btk-us-[A-Za-z0-9_-]{48}"),
    Format("SendGrid", ("sg.",),
           r"\bSG\.(?:[A-Za-z0-9=_-]{16,32}\.[A-Za-z0-9=_-]{16}|[A-Za-z0-9=_.-]{66})"),
    Format("Sentry", ("sntry",), r"sntry[su]_[A-Za-z0-9+/=_-]{32}"),
    Format("SettleMint", ("sm_",), r"\bsm_[aps]at_[A-Za-z0-9]{16}"),
    Format("Shippo", ("shippo_",), r"shippo_(?:live|test)_[A-Fa-f0-9]{30}"),
    Format("Shopify", ("shpat_", "shpca_", "shppa_", "shpss_"),
           r"shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}"),
    Format("Sidekiq", ("contribsys__com",),
           r"[Cc][Oo][Nn][Tt][Rr][Ii][Bb][Ss][Yy][Ss]__[Cc][Oo][Mm][^A-Za-z0-9]{1,8}"
           r"[a-f0-9]{8}:[a-f0-9]{8}"),
    Format("Slack", ("xox",), r"xox[abeoprs]-[A-Za-z0-9-]{8}"),
    Format("Slack", ("xapp-",), r"xapp-[0-9]-[A-Za-z0-9-]{8}"),
    Format("Slack", ("hooks.slack.com/",), r"hooks\.slack\.com/[a-z]{4,12}/[A-Za-z0-9+/_-]{12}"),
    Format("Sonar", ("squ_", "sqp_", "sqa_"), r"\bsq[apu]_[A-Za-z0-9_=-]{40}"),
    Format("Sourcegraph", ("sgp_",), r"\bsgp_(?:(?:[A-Fa-f0-9]{16}|local)_)?[A-Fa-f0-9]{40}"),
    Format("Square", ("sq0",), r"sq0[a-z]{3}-[A-Za-z0-9_-]{20}"),
    Format("Square", ("eaaa",), _APART + r"EAAA[A-Za-z0-9_-]{22,60}" + _ENDS),
    Format("Stripe", ("_live_", "_test_", "_prod_"), r"[rs]k_(?:live|test|prod)_[A-Za-z0-9]{10}"),
    Format("Stripe", ("whsec_",), r"whsec_[A-Za-z0-9+/]{16}"),
    Format("Supabase", ("sbp_", "sup_sk_"), r"\b(?:sbp|sup_sk)_[A-Za-z0-9_]{16}"),
    Format("Teams", ("/webhookb2/",), r"\.office\.com/webhookb2/[A-Za-z0-9]{8}-"),
    Format("Telegram", (":a",), r"[0-9]{5}:A[A-Za-z0-9_-]{33}"),
    Format("Twilio", ("sk",), r"SK[0-9A-Fa-f]{32}"),
    Format("Twitter", ("aaaaaaaaaaaaaaaaaaaaaa",),
           _APART + r"A{22}(?=[A-Za-z]{0,79}[0-9%])[A-Za-z0-9%]{80}"),
    Format("Typeform", ("tfp_",), r"\btfp_[A-Za-z0-9_.=-]{40}"),
    Format("xAI", ("xai-",), r"\bxai-[A-Za-z0-9]{32}"),
    Format("Yandex", ("aqvn", "yc"),
           _APART + r"(?:AQVN|YC(?=[A-Za-z_-]{0,34}[0-9]))[A-Za-z0-9_-]{35,38}" + _ENDS),
    Format("Yandex", ("t1.",), r"\bt1\.[A-Za-z0-9_-]{1,200}={0,2}\.[A-Za-z0-9_-]{86}"),
)  # fmt: skip

FORMAT_MINIMUM = 12
"""No shorter text has one of these formats, is a token, or is one of these in Base64."""

JWT = r"eyJ[A-Za-z0-9_-]{4,}(\.[A-Za-z0-9_-]{4,}\.)?"
"""A JSON Web Token where the group is there. Optional, so that no run is tried again."""

BASE64_JWT = r"ZXlK[A-Za-z0-9+/_-]{24,}={0,2}"
"""Base64 that begins as an encoded token does."""

URL_PASSWORD = r"://[^ \t\r\n:@/]*:([^ \t\r\n@/]+)@"  # noqa: S105 - finds one, is none
"""``https://user:password@host``; the group is the password."""

OPAQUE = r"[A-Za-z0-9+/=_.~-]{16,}"
"""All of a text that may be a key; it then has letters and digits, too."""

USER_PASSWORD = r"[A-Za-z][\w.@+-]{0,63}:(?![0-9]*$)[!-.0-~][!-~]{2,127}"  # noqa: S105
"""All of what a text in Base64 stands for, as in ``Basic …``: not ``Product:4711``."""

PLACEHOLDER_MARKS = "*\u2022"
"""A text of these alone stands for a secret that is kept elsewhere."""

TEMPLATE_MARKS = "{}[]<$%("
"""A value that begins with one of these stands for another: ``{token}``, ``<your token>``."""

LITERALS: tuple[str, ...] = _words(
    "true", "false", "null", "none", "undefined", "yes", "no", "keine", "keins", "aucun",
    "ninguna", "nessuna", "нет", "없음", "なし", "नहीं",
)  # fmt: skip
"""What is assigned to a secret's name and is none."""


@attrs.frozen
class Assignment:
    """``password=…`` or ``"token": "…"`` inside other text.

    Attributes:
        pattern: Groups: a quotation mark after the name, the sign, a quotation mark before
            the value, the value.
        lower: The text is put in lower case first.
        prose: What counts after a bare colon, as people write: a value of at least this many
            characters,
        digits: and with a digit in it.
        least: How many characters any value has at least.
        ascii: Text of ASCII alone may match, too.
    """

    pattern: str
    lower: bool
    prose: int
    digits: bool
    least: int = 1
    ascii: bool = True


_MARK = "[\"'`\u201c\u201d]"
_TAIL = (
    rf"\\{{0,4}}({_MARK}?)[ \t\r\n]{{0,8}}(=>|:=|[:=])[ \t\r\n]{{0,8}}\\{{0,4}}({_MARK}?)"
    "([^ \\t\\r\\n\"'`,;\\\\\u201c\u201d]{1,64})"
)


def _spelt(words: Iterable[str]) -> str:
    return "|".join(sorted((word.replace("_", "[ _.-]?") for word in words), key=len, reverse=True))


_NO_LETTER = (
    "[^A-Za-z0-9\u0080-\u060b\u060d-\u061a\u061c-\u06d3\u06d5-\u0963\u0966-\u1fff"
    "\u2c00-\u2fff\u3004-\u3007\u3012-\ufffc]"
)
"""Between words of any script: signs of ASCII, punctuation, pictures."""


def _any_case(words: Iterable[str]) -> str:
    """Words in any case after what is no letter, or capitalised inside a name: ``userPin``."""
    cased = [_cased(word) for word in sorted(words, key=len, reverse=True)]
    inner = [f"{word[1]}{word[4:]}" for word in cased]
    return f"(?:(?:^|[^A-Za-z0-9])(?:{'|'.join(cased)})|[a-z0-9](?:{'|'.join(inner)}))"


def _apart(words: Iterable[str]) -> str:
    cased = [_cased(word) for word in sorted(words, key=len, reverse=True)]
    return f"(?:^|{_NO_LETTER})(?:{'|'.join(cased)})"


def _cased(word: str) -> str:
    return "".join("[ _.-]?" if c == "_" else f"[{c.upper()}{c}]" for c in word)


def _latin(words: Iterable[str]) -> list[str]:
    return [word for word in words if word.isascii()]


def _other(words: Iterable[str]) -> list[str]:
    return [word for word in words if not word.isascii()]


_MORE = "[a-z0-9_.-]{0,16}"

ASSIGNMENTS: Mapping[str, Assignment] = {
    "password": Assignment(f"(?:{_spelt(_latin(CONTAINED))}){_MORE}{_TAIL}", True, 4, False),
    "secret": Assignment(f"(?:{_spelt(_latin(FINAL))}){_TAIL}", True, 8, True),
    "short": Assignment(f"{_any_case((*_latin(SHORT), *EXACT))}{_TAIL}", False, 4, True, 4),
    "other password": Assignment(
        f"(?:{_spelt(_other(CONTAINED))}){_MORE}{_TAIL}", True, 4, False, ascii=False
    ),
    "other secret": Assignment(f"(?:{_spelt(_other(FINAL))}){_TAIL}", True, 8, True, ascii=False),
    "other short": Assignment(f"{_apart(_other(SHORT))}{_TAIL}", False, 4, True, 4, ascii=False),
}
