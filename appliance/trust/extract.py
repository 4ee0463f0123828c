"""``[extract]`` of a description as the core's values."""

from appliance.core.model import BeatsExtract, CardHistoryExtract, Extract, SpectrumExtract
from appliance.trust.description import BeatsSection, CardHistorySection, SpectrumSection


def extract_of(section: CardHistorySection | BeatsSection | SpectrumSection) -> Extract:
    """Build the values that an extractor is made of."""
    settings = section.model_dump(exclude={"kind"})
    match section:
        case CardHistorySection():
            return CardHistoryExtract(**settings)
        case BeatsSection():
            return BeatsExtract(**settings)
        case SpectrumSection():
            return SpectrumExtract(**settings)
