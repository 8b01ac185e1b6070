"""How the credentials of many services look, and texts of those shapes.

A shape is text with runs in it: ``<a20>`` stands for twenty letters or digits, chosen by
chance when the tests run, so that nothing in this repository looks like a credential.
"""

from __future__ import annotations

import random
import re
import string

__all__ = ["SHAPES", "random_text", "shaped"]

_SMALL = string.ascii_lowercase + string.digits
_ALPHABETS = {
    "a": string.ascii_letters + string.digits,
    "b": string.ascii_letters + string.digits + "+/",
    "d": string.digits,
    "h": string.digits + "abcdef",
    "H": string.digits + "abcdefABCDEF",
    "i": string.ascii_letters,
    "s": _SMALL,
    "S": _SMALL + "_-",
    "t": string.ascii_letters + string.digits + "_~.-",
    "u": string.ascii_uppercase + string.digits,
    "v": string.ascii_uppercase + "234567",
    "w": string.ascii_letters + string.digits + "_-",
}
_RUN = re.compile(r"<([A-Za-z])([0-9]+)>")
_UUID = "<h8>-<h4>-<h4>-<h4>-<h12>"

SHAPES: dict[str, tuple[str, ...]] = {
    "1Password": (
        "A3-<u6>-<u11>-<u5>-<u5>-<u5>", "A3-<u6>-<u6>-<u5>-<u5>-<u5>-<u5>", "ops_eyJ<b250>==",
    ),
    "Adafruit": ("aio_<a28>",),
    "Adobe": ("p8e-<s32>",),
    "age": ("AGE-SECRET-KEY-1<u58>",),
    "Airtable": ("pat<a14>.<h64>",),
    "Alibaba": ("LTAI<s20>",),
    "Anthropic": ("sk-ant-api03-<w93>AA", "sk-ant-admin01-<w93>AA"),
    "Artifactory": ("AKCp<a69>", "cmVmd<a59>"),
    "Atlassian": ("ATATT3<w186>", "ATCTT3<w186>"),
    "Authress": ("sc_<s12>.<s5>.acc-<s20>.<s60>", "authress_<s9>.<s4>.acc_<s12>.<s40>"),
    "authorization": (
        "Authorization: Basic <b24>==", "authorization=Token <a24>", "AUTHORIZATION: ApiKey <a20>",
    ),
    "AWS": ("AKIA<v16>", "ASIA<v16>", "ABIA<v16>", "ACCA<v16>", "A3T<u1><v16>"),
    "AWS Bedrock": ("ABSK<b120>=", "bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29t<b40>"),
    "Azure": ("<t3>7Q~<t34>", "<a3>8Q~<t31>"),
    "Brevo": ("xkeysib-<h64>-<a16>", "xsmtpsib-<h64>-<a16>"),
    "ClickHouse": ("4b1d<a38>",),
    "Clojars": ("CLOJARS_<s60>",),
    "Cloudflare": ("v1.0-<h24>-<h146>",),
    "curl": (
        *("curl -u ann:<a12> https://example.org", "curl --user '<a20>:' https://example.org"),
        *("curl -uann:<a12> https://example.org", 'curl -u "ann lee:<i4> <i4>" example.org'),
        *("curl --user 'ann lee:<i4> <i4>' example.org", 'curl -u "ann":"<a12>" example.org'),
        *("curl -H 'X-Api-Key: <i12>' example.org", 'curl --header "Authorization: <i12>" a.org'),
    ),
    "Databricks": ("dapi<h32>", "dapi<h32>-2"),
    "Defined Networking": ("dnkey-<S26>-<S52>",),
    "DigitalOcean": ("dop_v1_<h64>", "doo_v1_<h64>", "dor_v1_<H64>"),
    "Docker": ("dckr_pat_<w27>", "dckr_oat_<w32>"),
    "Doppler": ("dp.pt.<a43>", "dp.st.dev_main.<a43>", "dp.ct.<a43>"),
    "Dropbox": ("sl.<w135>", "sl.u.<w135>", "<s11>AAAAAAAAAA<S43>"),
    "Duffel": ("duffel_live_<S43>", "duffel_test_<S43>"),
    "Dynatrace": ("dt0c01.<u24>.<u64>", "dt0s01.<u8>.<u64>"),
    "EasyPost": ("EZAK<s54>", "EZTK<a54>"),
    "Facebook": ("EAAM<a120>", "EAAC<s100>", "<d16>|<S27>", "<d15>|<w40>"),
    "Figma": ("figd_<w40>",),
    "Flutterwave": (
        "FLWSECK-<s32>-X", "FLWSECK_TEST-<h12>", "FLWSECK_TEST-<h32>-X", "FLWPUBK_TEST-<h32>-X",
    ),
    "Fly.io": ("fo1_<w43>", "fm1a_<b100>", "fm1r_<b100>==", "fm2_<b120>"),
    "Frame.io": ("fio-u-<S64>",),
    "GitHub": (
        "ghp_<a36>", "gho_<a36>", "ghu_<a36>", "ghs_<a36>", "ghr_<a36>", "github_pat_<a22>_<a59>",
    ),
    "GitLab": (
        "glpat-<w20>", "glpat-<w27>.01<s7>", "gldt-<w20>", "glrt-<w20>", "glrt-t1_<w27>.01<s7>",
        "glrtr-<w20>", "glptt-<h40>", "glcbt-64_<w20>", "glsoat-<w20>", "glft-<w20>", "glimt-<w25>",
        "glagent-<w50>", "gloas-<w64>", "glffct-<w20>", "glwt-<w20>", "GR1348941<w20>",
        "_gitlab_session=<s32>",
    ),
    "GoCardless": ("live_<w40>", "sandbox_<w40>"),
    "Google": ("AIza<w35>", "GOCSPX-<w28>", "ya29.<w60>"),
    "Grafana": ("eyJrIjoi<a80>==", "glc_<b60>=", "glsa_<a32>_<H8>"),
    "Groq": ("gsk_<a52>",),
    "Harness": ("pat.<w22>.<a24>.<a20>", "sat.<w22>.<a24>.<a20>"),
    "HashiCorp": ("hvs.<w90>", "hvb.<w138>", "hvr.<w24>", "s.<s24>", "<s14>.atlasv1.<S64>"),
    "Heroku": ("HRKU-AA<w58>", f"HRKU-{_UUID}"),
    "HubSpot": (f"pat-na1-{_UUID}",),
    "Hugging Face": ("hf_<i34>", "api_org_<i34>"),
    "Infracost": ("ico-<a32>",),
    "Intra 42": ("s-s4t2ud-<h64>", "s-s4t2af-<h64>"),
    "JSON Web Token, with spaces": ("eyAi<a20>.eyAi<w30>.<w20>",),
    "Kubernetes": ("apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\ndata:\n  x: <b24>",
                   "data:\n  x: <b24>\nkind: Secret\n"),
    "Linear": ("lin_api_<s40>", "lin_oauth_<s40>"),
    "Lob": ("live_<h35>", "test_<h35>", "live_pub_<h31>"),
    "Mailchimp": ("<h32>-us20",),
    "Mailgun": ("key-<h32>", "pubkey-<h32>"),
    "Mapbox": ("pk.<s60>.<s22>", "sk.<s60>.<s22>"),
    "MaxMind": ("<a6>_<a29>_mmk",),
    "New Relic": ("NRAK-<u27>", "NRJS-<h19>", "NRII-<a32>"),
    "Notion": ("ntn_<d11><a35>", "secret_<a43>"),
    "npm": ("npm_<s36>",),
    "NuGet": ('<add key="ClearTextPassword" value="<a12>" />',
              "<add key='Password'value='<a12>'/>", '<add value="<a12>" key="Password"/>'),
    "Octopus Deploy": ("API-<u26>",),
    "OpenAI": ("sk-<a20>T3BlbkFJ<a20>", "sk-proj-<w74>T3BlbkFJ<w74>", "sk-svcacct-<w58>"),
    "OpenShift": ("sha256~<w43>",),
    "Perplexity": ("pplx-<a48>",),
    "Plaid": (f"access-sandbox-{_UUID}", f"access-production-{_UUID}"),
    "PlanetScale": ("pscale_tkn_<w43>", "pscale_pw_<w43>", "pscale_oauth_<w32>"),
    "Postman": ("PMAK-<h24>-<h34>",),
    "Prefect": ("pnu_<a36>", "pnb_<a36>"),
    "private key": ("-----BEGIN EC PRIV" + "ATE KEY-----\n<b64>",),
    "Pulumi": ("pul-<h40>",),
    "PyPI": ("pypi-AgEIcHlwaS5vcmc<w70>",),
    "ReadMe": ("rdme_<s70>",),
    "RubyGems": ("rubygems_<h48>",),
    "Scalingo": ("tk-us-<w48>",),
    "SendGrid": ("SG.<w22>.<w43>", "SG.<S66>"),
    "Sentry": ("sntryu_<h64>", "sntrys_eyJpYXQiO<b60>LCJyZWdpb25fdXJs<b20>=_<b43>"),
    "SettleMint": ("sm_aat_<a16>", "sm_pat_<a16>", "sm_sat_<a16>"),
    "Shippo": ("shippo_live_<H40>", "shippo_test_<h40>"),
    "Shopify": ("shpat_<H32>", "shpca_<H32>", "shppa_<H32>", "shpss_<H32>"),
    "Sidekiq": ("BUNDLE_ENTERPRISE__CONTRIBSYS__COM=<h8>:<h8>",),
    "Slack": (
        "xoxb-<d12>-<d12>-<a24>", "xoxp-<d12>-<d12>-<d12>-<h32>", "xoxe.xoxp-1-<u163>",
        "xoxe-1-<u146>", "xoxs-1-2-3-<h12>", "xoxa-2-<a12>", "xapp-1-<u11>-<d13>-<h64>",
        "hooks.slack.com/services/T<u8>/B<u8>/<a24>", "hooks.slack.com/triggers/T<u8>/<a40>",
    ),
    "Sonar": ("squ_<h40>", "sqp_<h40>", "sqa_<S40>"),
    "Sourcegraph": ("sgp_<h40>", "sgp_<h16>_<h40>", "sgp_local_<h40>"),
    "Square": ("EAAAE<w59>", "EAAAl<w59>", "EAAAl<a22>", "sq0atp-<w22>", "sq0csp-<w43>"),
    "Stripe": ("sk_live_<a24>", "rk_test_<a99>", "sk_prod_<a10>", "whsec_<a32>"),
    "Supabase": ("sbp_<h40>", "sup_sk_<a32>"),
    "Teams": (f"https://x.webhook.office.com/webhookb2/{_UUID}@{_UUID}/IncomingWebhook/<h32>",),
    "Telegram": ("<d10>:AA<w33>", "<d6>:A<S34>"),
    "Twilio": ("SK<h32>", "SK<H32>"),
    "Twitter": ("AAAAAAAAAAAAAAAAAAAAAA<a40>%3D<a40>",),
    "Typeform": ("tfp_<S59>",),
    "xAI": ("xai-<a80>",),
    "Yandex": ("t1.<w60>.<w86>", "AQVN<w35>", "YC<w38>"),
}  # fmt: skip
"""The shapes of each service's credentials."""


def random_text(alphabet: str, length: int, chance: random.Random) -> str:
    return "".join(chance.choices(_ALPHABETS[alphabet], k=length))


def shaped(shape: str, chance: random.Random) -> str:
    """A text of this shape."""
    return _RUN.sub(lambda run: random_text(run[1], int(run[2]), chance), shape)
