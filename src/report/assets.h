// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace megafold {

extern const char kReportStyle[];         // CSS of the page (style.cpp)
extern const char kReportScript[];        // pointer labels of the charts, theme (script.cpp)
extern const char kReportViewerScript[];  // the structure in WebGL 2 (viewer_script.cpp)

extern const char kCachePageStyle[], kCachePageScript[];  // beside them on a cache's page

}  // namespace megafold
