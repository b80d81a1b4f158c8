import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty["feature"] ?? ""} />;
}

export const feature: PageOf = { path: "feature", nav: null, title: () => "Feature", Page };
